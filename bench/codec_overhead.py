#!/usr/bin/env python3
"""What a gradient codec adds to one training step, each codec beside no codec in one run.

    codec_overhead.py [--precision fp32|bf16] [--rounds 9] [--steps 8] [--threads N] [--batch-size 128]
                      [--model resnet_20] [--program build/cpu/apps/bench_step] [--output FILE]

A round runs bench_step without a codec and right behind it with one, for each codec in turn; what counts is the
difference of the two medians, and of these the median over the rounds. Beside it stands the time of the codec alone,
between the passes of a step (bench_step --profile), because most codecs take less than a step strays. Prints a
Markdown table and writes bench/results/codec_overhead_<precision>.json.
"""

import argparse
import json
import os
import pathlib
import statistics

from sides import ROOT, Side, machine, output_of

CODECS = [("standard", 512), ("exponential", 512), ("hadamard", 512), ("smart", 51200), ("smart", 512)]


def milliseconds_alone(command):
    """The mean over the profiled steps."""
    last = next(line for line in output_of(*command, "--profile").splitlines() if line.startswith("quantize, update"))
    return float(last.split()[-2])


def measure(arguments):
    shared = ["--model", arguments.model, "--batch-size", str(arguments.batch_size), "--threads",
              str(arguments.threads), "--precision", arguments.precision]  # fmt: skip
    plain = Side("none", [arguments.program, *shared, "--quant", "none"])
    commands = {
        f"{codec}, bucket {size}": [arguments.program, *shared, "--quant", codec, "--bucket-size", str(size)]
        for codec, size in CODECS
    }
    alone = {name: milliseconds_alone(command) for name, command in commands.items()}
    sides = [Side(name, command) for name, command in commands.items()]
    for _ in range(arguments.rounds):
        for side in sides:
            plain.run(arguments.steps)
            side.run(arguments.steps)
    before = plain.medians()
    results = {}
    for position, side in enumerate(sides):
        pairs = [(median, before[len(sides) * turn + position]) for turn, median in enumerate(side.medians())]
        results[side.name] = {
            "added_ms": statistics.median(median - base for median, base in pairs),
            "alone_ms": alone[side.name],
            "added_percent": statistics.median(100 * (median / base - 1) for median, base in pairs),
            "round_medians_ms": [median for median, _ in pairs],
            "none_before_ms": [base for _, base in pairs],
        }
    for side in [plain, *sides]:
        side.close()
    return {"none_ms": statistics.median(before), "codecs": results}


def main():
    parser = argparse.ArgumentParser(description="What a codec adds to a training step.")
    parser.add_argument("--precision", choices=["fp32", "bf16"], default="fp32")
    parser.add_argument("--model", default="resnet_20")
    parser.add_argument("--batch-size", type=int, default=128)
    parser.add_argument("--threads", type=int, default=len(os.sched_getaffinity(0)))
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--steps", type=int, default=8)
    parser.add_argument("--program", default=str(ROOT / "build/cpu/apps/bench_step"))
    parser.add_argument("--output", type=pathlib.Path)
    arguments = parser.parse_args()
    arguments.output = arguments.output or ROOT / f"bench/results/codec_overhead_{arguments.precision}.json"
    if not os.access(arguments.program, os.X_OK):
        raise SystemExit(f"codec_overhead.py: no program {arguments.program}: cmake --build --preset cpu")
    results = measure(arguments)
    description = {
        "model": arguments.model, "batch_size": arguments.batch_size, "precision": arguments.precision,
        "threads": arguments.threads, "rounds": arguments.rounds, "steps_per_round": arguments.steps, **machine(),
    }  # fmt: skip
    arguments.output.parent.mkdir(parents=True, exist_ok=True)
    arguments.output.write_text(json.dumps({**description, **results}, indent=1) + "\n")
    print(f"{arguments.model}, {arguments.precision}, batch {arguments.batch_size}, {arguments.threads} threads, "
          f"{description['device']}, commit {description['commit']}; without a codec {results['none_ms']:.1f} ms\n")  # fmt: skip
    print("| codec | ms alone | ms added | percent added | percent in single rounds |\n|---|---|---|---|---|")
    for name, codec in results["codecs"].items():
        single = [100 * (m / b - 1) for m, b in zip(codec["round_medians_ms"], codec["none_before_ms"])]
        print(f"| {name} | {codec['alone_ms']:.2f} | {codec['added_ms']:.2f} | {codec['added_percent']:.1f} | "
              f"{min(single):.1f} to {max(single):.1f} |")  # fmt: skip
    print(f"\nwritten: {arguments.output}")


if __name__ == "__main__":
    main()
