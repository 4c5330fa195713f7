#!/usr/bin/env python3
"""Every codec and kernel beside a copy of the same bytes: runs bench_kernels, keeps its numbers, writes a table.

    kernels.py [--device auto|cpu|cuda|cuda:N] [--threads N] [--filter REGEX] [--min-time 0.03]
               [--passes N] [--limit SECONDS] [--program build/cpu/apps/bench_kernels] [--output FILE]
               [--document FILE.md]

A kernel and its copy take turns, so a machine that slows down slows both; what counts is the percentage of the copy's
rate. All kernels are measured in several passes (three on the CPU, one on a GPU), and of each kernel's the one with
the median percentage counts. Writes bench/results/kernels_<device>.json and prints Markdown tables; with --document they also replace what
stands between the two comments "<!-- kernels <device>: begin -->" and "end" there. Without a filter, --device cpu
leaves out smart with buckets of 512, or solved exactly with 51,200, on 64 M elements: 8 and 4 s a launch on two cores.
"""

import argparse
import json
import os
import pathlib
import subprocess
import sys
import tempfile
import time

from sides import ROOT, commit

TOO_LONG_ON_A_CPU = "-codec/smart(/bucket:512|-exact/bucket:51200)/.*/67108864/"
SUFFIX = "/manual_time"


def run(arguments):
    """What bench_kernels wrote, and its exit status."""
    with tempfile.TemporaryDirectory() as folder:
        output = pathlib.Path(folder) / "out.json"
        command = [
            arguments.program, "--device", arguments.device, f"--benchmark_min_time={arguments.min_time}",
            f"--benchmark_out={output}", "--benchmark_out_format=json", f"--benchmark_filter={arguments.filter}",
        ]  # fmt: skip
        if arguments.threads:
            command += ["--threads", str(arguments.threads)]
        try:
            status = subprocess.run(command, stdout=sys.stderr, timeout=arguments.limit, check=False).returncode
        except subprocess.TimeoutExpired:
            status = f"none after {arguments.limit} s"
        text = output.read_text() if output.exists() else ""
        if '"real_time"' not in text:
            raise SystemExit(f"kernels.py: bench_kernels measured nothing; its status: {status}")
        if not text.rstrip().endswith("]\n}"):  # it was stopped; what it had measured is good
            text = text[: text.rindex("}") + 1] + "]}"
        return json.loads(text), status


def numbers_of(entry):
    """One benchmark as this project keeps it."""
    if entry.get("error_occurred"):
        return {"error": entry["error_message"]}
    names = ["bytes", "elements", "GB/s", "elements/s", "copy_GB/s", "percent_of_copy", "GFLOP/s", "host_launch_us"]
    kept = {"us": entry["real_time"], **{name: entry[name] for name in names if name in entry}}
    return {"from": entry["label"], **{name: float(f"{value:.5g}") for name, value in kept.items()}}


def middle(passes):
    """Of each kernel the pass with the median percentage; an error where there is one."""
    chosen = {}
    for name in passes[0]:
        of_it = [kernels[name] for kernels in passes if name in kernels]
        failed = [one for one in of_it if "error" in one]
        chosen[name] = failed[0] if failed else sorted(of_it, key=lambda one: one["percent_of_copy"])[len(of_it) // 2]
    return chosen


def write(path, result):
    """JSON with a line for each kernel."""
    kernels = ",\n".join(f"  {json.dumps(name)}: {json.dumps(kernel)}" for name, kernel in result["kernels"].items())
    head = json.dumps({key: value for key, value in result.items() if key != "kernels"}, indent=1)[:-2]
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f'{head},\n "kernels": {{\n{kernels}\n }}\n}}\n')


def with_percent(number, kernel):
    text = f"{number:.3g} ({kernel['percent_of_copy']:.0f} %)"
    return f"*{text}*" if kernel["from"] == "caches" else text


# The tables by their titles, and what a cell shows.
CODECS, ELEMENTWISE = "codec, 10⁹ elements/s", "elementwise, GB/s"
OTHERS, CONVOLUTIONS = "other kernels, µs", "convolutions, GFLOP/s"
CELLS = {
    CODECS: lambda kernel: with_percent(1e-9 * kernel["elements/s"], kernel),
    ELEMENTWISE: lambda kernel: with_percent(kernel["GB/s"], kernel),
    OTHERS: lambda kernel: with_percent(kernel["us"], kernel),
    CONVOLUTIONS: lambda kernel: f"{kernel['GFLOP/s']:.4g}",
}


def place_of(name, kernel):
    """Table, row and column."""
    parts = name.split("/")
    if parts[0] == "codec":
        return CODECS, ", ".join(parts[1:-1]), f"{int(parts[-1]):,}"
    if parts[-1].isdigit():
        return ELEMENTWISE, ", ".join(parts[:-1]), f"{int(parts[-1]):,}"
    types = [part for part in parts if part in ("f32", "bf16")]
    row = ", ".join(part for part in parts if part not in types)
    return CONVOLUTIONS if "GFLOP/s" in kernel else OTHERS, row, types[0] if types else "f32"


def tables(kernels):
    """Lines of Markdown."""
    rows = {title: {} for title in CELLS}
    for name, kernel in kernels.items():
        if "error" not in kernel:
            title, row, column = place_of(name, kernel)
            rows[title].setdefault(row, {})[column] = CELLS[title](kernel)
    for title, table in rows.items():
        columns = list(dict.fromkeys(column for row in table.values() for column in row))
        if columns:
            yield f"| {title} | " + " | ".join(columns) + " |"
            yield "|---" * (len(columns) + 1) + "|"
        for name, row in table.items():
            yield f"| {name} | " + " | ".join(row.get(column, "–") for column in columns) + " |"
        if columns:
            yield ""


def put_into(document, device, lines):
    """Replaces what stands between the two comments of this device."""
    begin, end = (f"<!-- kernels {device}: {edge} -->" for edge in ("begin", "end"))
    before, found, rest = document.read_text().partition(begin)
    _, closed, after = rest.partition(end)
    if not found or not closed:
        raise SystemExit(f'kernels.py: {document} has no comments "{begin}" and "{end}"')
    document.write_text(f"{before}{begin}\n" + "\n".join(lines) + f"{end}{after}")


def parse():
    parser = argparse.ArgumentParser(description="Codecs and kernels beside a copy of the same bytes.")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--threads", type=int)
    parser.add_argument("--filter")
    parser.add_argument("--min-time", type=float, default=0.03)
    parser.add_argument("--passes", type=int, help="3 on the CPU, 1 on a GPU")
    parser.add_argument("--limit", type=float, help="seconds of a pass; what was measured until then is kept")
    parser.add_argument("--program", default=str(ROOT / "build/cpu/apps/bench_kernels"))
    parser.add_argument("--output", type=pathlib.Path)
    parser.add_argument("--document", type=pathlib.Path)
    arguments = parser.parse_args()
    arguments.filter = arguments.filter or (TOO_LONG_ON_A_CPU if arguments.device == "cpu" else ".")
    arguments.passes = arguments.passes or (3 if arguments.device == "cpu" else 1)
    arguments.output = arguments.output or ROOT / f"bench/results/kernels_{arguments.device.replace(':', '_')}.json"
    if not os.access(arguments.program, os.X_OK):
        raise SystemExit(f"kernels.py: no program {arguments.program}: cmake --build --preset cpu")
    return arguments


def main():
    arguments = parse()
    started = time.monotonic()
    passes, status = [], 0
    while len(passes) < arguments.passes and status == 0:
        raw, status = run(arguments)
        passes.append({entry["name"].removesuffix(SUFFIX): numbers_of(entry) for entry in raw["benchmarks"]})
    kernels, context = middle(passes), raw["context"]
    result = {
        "device": context["device"], "threads": int(context["threads"]),
        "commit": commit(), "versions": {"compiler": context["compiler"], "python": sys.version.split()[0]},
        "min_time": arguments.min_time, "passes": len(passes), "seconds": round(time.monotonic() - started), "kernels": kernels,
    }  # fmt: skip
    write(arguments.output, result)
    lines = [f"{result['device']}, {result['threads']} threads, commit {result['commit']}, "
             f"compiler {context['compiler']}:\n", *tables(kernels)]  # fmt: skip
    print("\n".join(lines))
    if arguments.document:
        put_into(arguments.document, arguments.device, lines)
    for name, kernel in kernels.items():
        if "error" in kernel:
            print(f"{name} failed: {kernel['error']}")
    failed = sum("error" in kernel for kernel in kernels.values())
    print(f"{len(kernels) - failed} measured, {failed} failed in {result['seconds']} s, written: {arguments.output}")
    if status != 0:
        print(f"bench_kernels ended with status {status}")
    return 1 if status else 0


if __name__ == "__main__":
    sys.exit(main())
