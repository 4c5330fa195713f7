#!/usr/bin/env python3
"""The time of one training step, ours against PyTorch, side by side in one run.

    compare_pytorch.py [--device cpu|cuda] [--precision fp32|tf32|bf16] [--starts 4] [--rounds 3] [--steps N]
                       [--threads N] [--batch-size 128] [--model resnet_20] [--forms eager,graph,compiled]
                       [--types bf16,bf16-autocast] [--codecs standard,none] [--program build/cpu/apps/bench_step]
                       [--output FILE]

Ours is bench_step; the peers are bench/pytorch_step.py in every form that might be its fastest: channels_last, with
the codec as a few tensor operations and without any codec, with ATen's default and its AVX-512 loops, and for bf16
both the whole model in bfloat16 and autocast. Every side is a process of its own that waits on its input, so only
one computes at a time; a round runs ours before each of the peers. OpenMP's waiting policy is left at its default,
which is what suits PyTorch best. On a GPU the forms are eager, the whole step as one CUDA graph, and that with
torch.compile, each for every type that stands for the precision, with the codec and without: --forms, --types and
--codecs choose among them, and a form that does not start is left out. PyTorch's batch lies ready there, while ours is
cut from the data set in every step. All processes are started anew several times, because how fast one of PyTorch is
depends on where its memory came to lie, for as long as it runs.

A time alone means little on a shared machine, so what counts is the ratio of a peer's median to the median of ours
just before it; of these the median over the rounds. The peer is PyTorch's form that has the lowest ratio and does the
same work (codec included). Prints a Markdown table and writes bench/results/compare_pytorch_<precision>.json, the
latter after every round, so that a comparison that is stopped leaves its rounds.
"""

import argparse
import json
import os
import pathlib
import statistics
import subprocess
import sys
import time

from sides import ROOT, Side, machine, vector_level


GPU_FORMS = {"eager": [], "graph": ["--graph"], "compiled": ["--compile", "--graph"]}
NAMES = {"compiled": "compiled graph"}  # where it says more


def gpu_sides(arguments):
    shared = ["--model", arguments.model, "--batch-size", str(arguments.batch_size), "--device", "cuda"]
    sides = [Side("Qstep", [arguments.program, *shared, "--precision", arguments.precision, "--quant", "standard"])]
    types = ["bf16", "bf16-autocast"] if arguments.precision == "bf16" else [arguments.precision]
    for one_type in arguments.types or types:
        for codec in arguments.codecs:
            for form in arguments.forms:
                command = [sys.executable, str(ROOT / "bench/pytorch_step.py"), *shared, "--precision", one_type]
                name = f"PyTorch {one_type} {NAMES.get(form, form)}" + ("" if codec == "standard" else ", no codec")
                started = time.monotonic()
                try:
                    sides.append(Side(name, [*command, "--quant", codec, *GPU_FORMS[form]]))
                    print(f"{name}: started in {time.monotonic() - started:.0f} s", file=sys.stderr)
                except SystemExit as reason:  # each form needs something else of a PyTorch
                    print(f"left out: {reason}", file=sys.stderr)
    return sides


def cpu_sides(arguments):
    shared = ["--model", arguments.model, "--batch-size", str(arguments.batch_size)]
    shared += ["--threads", str(arguments.threads)]
    ours = [arguments.program, *shared, "--precision", arguments.precision, "--quant", "standard"]
    sides = [Side("Qstep", ours)]
    forms = ["fp32"] if arguments.precision == "fp32" else ["bf16", "bf16-autocast"]
    capabilities = [("", {})]
    if "avx512f" in vector_level():
        capabilities.append((", ATen avx512", {"ATEN_CPU_CAPABILITY": "avx512"}))
    for form in forms:
        for codec in ("standard", "none"):
            for suffix, environment in capabilities:
                name = f"PyTorch {form}{suffix}" + ("" if codec == "standard" else ", no codec")
                command = [sys.executable, str(ROOT / "bench/pytorch_step.py"), *shared]
                sides.append(Side(name, [*command, "--precision", form, "--quant", codec], environment))
    return sides


def measure(arguments, earlier, after_round):
    """All sides, with the rounds of one start behind those of `earlier`, the sides of starts before."""
    sides = gpu_sides(arguments) if arguments.device == "cuda" else cpu_sides(arguments)
    if len(sides) == 1:
        raise SystemExit("compare_pytorch.py: no form of PyTorch started")
    if earlier and [side.name for side in earlier] != [side.name for side in sides]:
        raise SystemExit("compare_pytorch.py: not every form of PyTorch started again")
    for side, before in zip(sides, earlier):
        side.rounds = before.rounds
    ours, *peers = sides
    for _ in range(arguments.rounds):
        for peer in peers:
            ours.run(arguments.steps)
            peer.run(arguments.steps)
        after_round(ours, peers)
    for side in sides:
        side.close()
    return sides


def table(ours, ratios):
    yield "| side | ms a step, median | medians of the rounds | times ours, median (range) |"
    yield "|---|---|---|---|"
    for side in [ours, *ratios]:
        over = ratios.get(side, [1.0])
        yield (f"| {side.name} | {side.median():.4g} | {min(side.medians()):.4g}–{max(side.medians()):.4g} | "
               f"{statistics.median(over):.2f} ({min(over):.2f}–{max(over):.2f}) |")  # fmt: skip


def summary(ours, peers, arguments):
    """What is written, and of each peer its ratios to ours."""
    ratios = {peer: peer.ratios_to(ours, position) for position, peer in enumerate(peers)}
    ratio = {peer: statistics.median(values) for peer, values in ratios.items()}
    peer = min((p for p in peers if p.quantized), key=ratio.get, default=None)
    plain = min((p for p in peers if not p.quantized), key=ratio.get, default=None)
    same_work = {"median": ratio[peer], "min": min(ratios[peer]), "max": max(ratios[peer])} if peer else None
    result = {
        "model": arguments.model, "on": arguments.device, "batch_size": arguments.batch_size,
        "precision": arguments.precision, "threads": arguments.threads,
        "starts": arguments.starts, "rounds_per_start": arguments.rounds, "steps_per_round": arguments.steps,
        **machine(),
        "versions": {"ours": ours.ready, "pytorch": peers[0].ready, "python": sys.version.split()[0]},
        **({"peer": peer.name, "ratio": same_work} if peer else {}),
        **({"ratio_without_codec_in_pytorch": {"peer": plain.name, "median": ratio[plain]}} if plain else {}),
        "sides": {
            side.name: {"median_ms": side.median(), "round_medians_ms": side.medians(), "ratios": ratios.get(side, [])}
            for side in [ours, *peers]
        },
    }  # fmt: skip
    if arguments.device == "cuda":
        result["gpu"] = ours.ready.split(" on ", 1)[1]
    return result, ratios


def write(path, result):
    """Whole or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_suffix(".tmp")
    part.write_text(json.dumps(result, indent=1) + "\n")
    part.replace(path)


def print_report(ours, result, ratios, output):
    where = f"{result['threads']} threads, {result['device']} ({' '.join(result['vector_level'])})"
    print(f"{result['model']}, {result['precision']}, batch {result['batch_size']}, {result.get('gpu', where)}, "
          f"commit {result['commit']}\n")  # fmt: skip
    print("\n".join(table(ours, ratios)) + "\n")
    plain = result.get("ratio_without_codec_in_pytorch")
    if "peer" in result:
        ratio, rounds = result["ratio"], len(result["sides"][result["peer"]]["ratios"])
        print(f"{result['peer']} takes {ratio['median']:.2f} times as long as Qstep ({ratio['min']:.2f}–"
              f"{ratio['max']:.2f} over {rounds} rounds)")  # fmt: skip
    if plain:
        print(f"{plain['peer']} takes {plain['median']:.2f} times as long as Qstep with its codec")
    print(f"written: {output}")


def main():
    parser = argparse.ArgumentParser(description="Step time, ours against PyTorch.")
    parser.add_argument("--precision", choices=["fp32", "tf32", "bf16"], default="fp32")
    parser.add_argument("--device", choices=["cpu", "cuda"], default="cpu")
    parser.add_argument("--model", default="resnet_20")
    parser.add_argument("--batch-size", type=int, default=128)
    parser.add_argument("--threads", type=int, default=len(os.sched_getaffinity(0)))
    parser.add_argument("--starts", type=int, default=4)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--steps", type=int, help="of a round: 6 on the CPU, 200 on a GPU")
    listed = {"type": lambda text: text.split(",")}
    parser.add_argument("--forms", default=list(GPU_FORMS), help="of PyTorch on a GPU: eager,graph,compiled", **listed)
    parser.add_argument("--types", help="fp32, tf32, bf16, bf16-autocast: of PyTorch on a GPU", **listed)
    parser.add_argument("--codecs", default=["standard", "none"], help="of PyTorch on a GPU", **listed)
    parser.add_argument("--program", default=str(ROOT / "build/cpu/apps/bench_step"))
    parser.add_argument("--output", type=pathlib.Path)
    arguments = parser.parse_args()
    if unknown := [form for form in arguments.forms if form not in GPU_FORMS]:
        raise SystemExit(f"compare_pytorch.py: there is no form '{unknown[0]}': {', '.join(GPU_FORMS)}")
    if arguments.precision == "tf32" and arguments.device == "cpu":
        raise SystemExit("compare_pytorch.py: tf32 is a precision of GPUs")
    name = "compare_pytorch_" + ("cuda_" if arguments.device == "cuda" else "") + arguments.precision
    arguments.steps = arguments.steps or (200 if arguments.device == "cuda" else 6)
    arguments.output = arguments.output or ROOT / f"bench/results/{name}.json"
    if subprocess.run([sys.executable, "-c", "import torch"], capture_output=True, check=False).returncode:
        raise SystemExit(f"compare_pytorch.py: {sys.executable} has no torch: apt-get install python3-torch, and "
                         "start this with /usr/bin/python3")  # fmt: skip
    if not os.access(arguments.program, os.X_OK):
        raise SystemExit(f"compare_pytorch.py: no program {arguments.program}: cmake --build --preset cpu")
    sides = []
    for _ in range(arguments.starts):
        sides = measure(arguments, sides, lambda ours, peers: write(arguments.output, summary(ours, peers, arguments)[0]))
    print_report(sides[0], *summary(sides[0], sides[1:], arguments), arguments.output)


if __name__ == "__main__":
    main()
