#!/usr/bin/env python3
"""What a gradient codec adds to one training step, each codec beside no codec in one run.

    codec_overhead.py [--device cpu|cuda] [--precision fp32|bf16] [--rounds 9] [--steps N] [--threads N]
                      [--batch-size 128] [--model resnet_20] [--limit SECONDS] [--program build/cpu/apps/bench_step]
                      [--output FILE]

A round runs bench_step without a codec and right behind it with one, for each codec in turn; what counts is the
difference of the two medians, and of these the median over the rounds. On the CPU the time of the codec alone stands
beside it, between the passes of a step (bench_step --profile), because most codecs take less than a step strays. On a
GPU every codec has its turn, those that matter most first; with --limit, codecs whose program does not start in half
of the seconds are left out, and rounds that do not fit into all of them. Prints a Markdown table and writes
bench/results/codec_overhead_<precision>.json.
"""

import argparse
import json
import os
import pathlib
import statistics
import time

from sides import ROOT, Side, machine, output_of

CODECS = [("standard", 512), ("exponential", 512), ("hadamard", 512), ("smart", 51200), ("smart", 512)]
OTHERS = ["qsgd", "terngrad", "sign", "natural", "dorefa", "fixed"]  # on a GPU, with buckets of 512


def milliseconds_alone(command):
    """The mean over the profiled steps."""
    last = next(line for line in output_of(*command, "--profile").splitlines() if line.startswith("quantize, update"))
    return float(last.split()[-2])


def commands_of(arguments):
    shared = ["--model", arguments.model, "--batch-size", str(arguments.batch_size), "--device", arguments.device,
              "--threads", str(arguments.threads), "--precision", arguments.precision]  # fmt: skip
    codecs = CODECS + ([(codec, 512) for codec in OTHERS] if arguments.device == "cuda" else [])
    plain = [arguments.program, *shared, "--quant", "none"]
    return plain, {
        f"{codec}, bucket {size}": [arguments.program, *shared, "--quant", codec, "--bucket-size", str(size)]
        for codec, size in codecs
    }


def results_of(plain, sides, alone):
    before = plain.medians()
    results = {}
    for position, side in enumerate(sides):
        pairs = [(median, before[len(sides) * turn + position]) for turn, median in enumerate(side.medians())]
        results[side.name] = {
            "added_ms": statistics.median(median - base for median, base in pairs),
            "alone_ms": alone.get(side.name),
            "added_percent": statistics.median(100 * (median / base - 1) for median, base in pairs),
            "round_medians_ms": [median for median, _ in pairs],
            "none_before_ms": [base for _, base in pairs],
        }
    return {"none_ms": statistics.median(before), "codecs": results}


def measure(arguments):
    started = time.monotonic()

    def in_time(share):
        return arguments.limit is None or time.monotonic() - started < share * arguments.limit

    command, commands = commands_of(arguments)
    plain = Side("none", command)
    alone = {}
    if arguments.device == "cpu":
        alone = {name: milliseconds_alone(command) for name, command in commands.items()}
    sides = []
    for name, command in commands.items():
        if in_time(0.5):
            sides.append(Side(name, command))
    for turn in range(arguments.rounds):
        if turn > 0 and not in_time(1 - 1 / arguments.rounds):
            break
        for side in sides:
            plain.run(arguments.steps)
            side.run(arguments.steps)
        write(arguments, results_of(plain, sides, alone))
    for side in [plain, *sides]:
        side.close()
    return results_of(plain, sides, alone)


def write(arguments, results):
    """Whole or not at all."""
    description = {
        "model": arguments.model, "on": arguments.device, "batch_size": arguments.batch_size,
        "precision": arguments.precision, "threads": arguments.threads, "rounds": arguments.rounds,
        "steps_per_round": arguments.steps, **machine(),
    }  # fmt: skip
    arguments.output.parent.mkdir(parents=True, exist_ok=True)
    part = arguments.output.with_suffix(".tmp")
    part.write_text(json.dumps({**description, **results}, indent=1) + "\n")
    part.replace(arguments.output)


def main():
    parser = argparse.ArgumentParser(description="What a codec adds to a training step.")
    parser.add_argument("--precision", choices=["fp32", "bf16"], default="fp32")
    parser.add_argument("--device", choices=["cpu", "cuda"], default="cpu")
    parser.add_argument("--model", default="resnet_20")
    parser.add_argument("--batch-size", type=int, default=128)
    parser.add_argument("--threads", type=int, default=len(os.sched_getaffinity(0)))
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--steps", type=int, help="of a round: 8 on the CPU, 200 on a GPU")
    parser.add_argument("--limit", type=float, help="seconds")
    parser.add_argument("--program", default=str(ROOT / "build/cpu/apps/bench_step"))
    parser.add_argument("--output", type=pathlib.Path)
    arguments = parser.parse_args()
    name = ("cuda_" if arguments.device == "cuda" else "") + arguments.precision
    arguments.steps = arguments.steps or (200 if arguments.device == "cuda" else 8)
    arguments.output = arguments.output or ROOT / f"bench/results/codec_overhead_{name}.json"
    if not os.access(arguments.program, os.X_OK):
        raise SystemExit(f"codec_overhead.py: no program {arguments.program}: cmake --build --preset cpu")
    results = measure(arguments)
    print(f"{arguments.model}, {arguments.precision}, batch {arguments.batch_size}, {arguments.threads} threads, "
          f"{arguments.device}, commit {machine()['commit']}; without a codec {results['none_ms']:.4g} ms\n")  # fmt: skip
    print("| codec | ms alone | ms added | percent added | percent in single rounds |\n|---|---|---|---|---|")
    for name, codec in results["codecs"].items():
        single = [100 * (m / b - 1) for m, b in zip(codec["round_medians_ms"], codec["none_before_ms"])]
        alone = "–" if codec["alone_ms"] is None else f"{codec['alone_ms']:.2f}"
        print(f"| {name} | {alone} | {codec['added_ms']:.4f} | {codec['added_percent']:.1f} | "
              f"{min(single):.1f} to {max(single):.1f} |")  # fmt: skip
    print(f"\nwritten: {arguments.output}")


if __name__ == "__main__":
    main()
