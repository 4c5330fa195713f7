#!/usr/bin/env python3
"""What is to be reached on a GPU, beside what gpu_check.sh found in this folder of results.

    gpu_goals.py RESULTS [GOALS.json]

Prints a table with a line for each goal, and writes the same as JSON. Of times and rates a goal is reached or missed; of
what must be right it holds or fails. What was not measured, or not to its end, is said to be open. Needs nothing but
Python.
"""

import csv
import json
import pathlib
import sys

LARGE = "codec/{}/bucket:512/quantize/67108864"
EAGER, COMPILED = "PyTorch bf16 eager", "PyTorch bf16 compiled graph"


class Results:
    def __init__(self, folder):
        self.folder = folder

    def json(self, name):
        """{} where it is not there."""
        try:
            return json.loads((self.folder / name).read_text())
        except (OSError, ValueError):
            return {}

    def outcome(self, part):
        return self.json(f"parts/{part}.json").get("outcome", "")

    def note(self, part):
        return self.json(f"parts/{part}.json").get("note", "")

    def cases(self, program):
        """Outcome of each case of a test program: passed, failed or skipped."""
        found = {}
        for path in sorted(self.folder.glob(f"{program}.*.json")):
            for suite in self.json(path.name).get("testsuites", []):
                for case in suite.get("testsuite", []):
                    state = "failed" if case.get("failures") else "passed"
                    name = f"{suite['name']}.{case['name']}"
                    found[name] = "skipped" if case.get("result") == "SKIPPED" else state
        return found

    def epochs(self, run):
        try:
            with open(self.folder / run / "metrics.csv", newline="", encoding="utf-8") as file:
                return list(csv.DictReader(file))
        except OSError:
            return []

    def seconds(self, run):
        try:
            return float((self.folder / run / "seconds.txt").read_text())
        except (OSError, ValueError):
            return None


def line(goal, needed, measured, verdict):
    return {"goal": goal, "needed": needed, "measured": measured, "verdict": verdict}


def correctness(results):
    """A line for what parts hold; where one of them failed, its words."""
    parts = {
        "training runs on this GPU": ["first_steps"],
        "memory, copies, captures": ["tests_backend"],
        "codecs: same codes as on the CPU": ["tests_codecs"],
        "ResNet-20's step is the CPU's, and codecs to the bit": ["one_step_resnet_20"],
        "AlexNet's step": ["one_step_alexnet"],
        "the small network's step": ["one_step_simple"],
        "eager = captured, two deterministic runs the same": ["eager_captured"],
        "kernels that start early change no bit": ["early_start"],
        "checkpoints move CPU, GPU, CPU": ["checkpoints"],
        "no such GPU, out of memory: a sentence": ["faults"],
        "own kernels against the CPU": ["tests_kernels"],
        "convolutions and matrix products against the CPU": ["tests_libraries"],
        "training steps and programs": ["tests_run"],
        "compute-sanitizer finds nothing":
            ["memcheck_kernels", "memcheck_codecs", "racecheck_kernels", "racecheck_codecs"],
    }  # fmt: skip
    words = {"passed": "holds", "failed": "fails"}
    for goal, names in parts.items():
        outcomes = [results.outcome(name) for name in names]
        worst = next((o for o in ("failed", "out of time", "skipped", "put off", "") if o in outcomes), "passed")
        part = names[outcomes.index(worst)]
        note = results.note(part) or worst or "did not run"
        yield line(goal, "", note, words.get(worst, "open"))


def named_cases(results):
    """Goals that a single test stands for."""
    tests = {
        "a run stopped at any step resumes bitwise": "CudaProgram.ResumesBitwise",
        "a signal stops a run, which then resumes bitwise": "CudaProgram.StopsOnSignalsAndResumesBitwise",
        "a second GPU gives the same bits": "CudaProgram.ASecondGpu",
    }
    cases = results.cases("test_cuda_run")
    for goal, name in tests.items():
        state = cases.get(name, "did not run")
        verdict = {"passed": "holds", "failed": "fails"}.get(state, "open")
        yield line(goal, "", f"{name}: {state}", verdict)


def number(goal, needed, value, reached, shown):
    if value is None:
        return line(goal, needed, "", "open")
    return line(goal, needed, shown(value), "reached" if reached(value) else "missed")


def peers(results):
    """With the codec on both sides, and with none on PyTorch's."""
    for needed, aim, form, file in [(6, 12, EAGER, "eager"), (1.5, 2.5, COMPILED, "compiled")]:
        result = results.json(f"compare_pytorch_cuda_{file}.json")
        for name, who in [(form, "the same codec"), (f"{form}, no codec", "no codec")]:
            ratios = sorted(result.get("sides", {}).get(name, {}).get("ratios", []))
            middle = ratios[len(ratios) // 2] if ratios else None
            ours = result.get("sides", {}).get("Qstep", {}).get("median_ms", 0)
            yield number(
                f"ResNet-20, batch 128, bf16: times as fast as {form}, {who}", f">= {needed}, aim {aim}", middle,
                lambda value: value >= needed,
                lambda value: f"{value:.2f} ({ratios[0]:.2f}-{ratios[-1]:.2f}), ours {ours:.4g} ms",
            )  # fmt: skip


def codec_rates(results):
    kernels = results.json("codec_rates.json").get("kernels", {})
    for codec, percent in [("standard", 85), ("exponential", 85), ("hadamard", 75)]:
        kernel = kernels.get(LARGE.format(codec), {})
        copy = kernel.get("copy_GB/s", 0)
        yield number(f"{codec}, 64 M elements: percent of the copy's rate", f">= {percent}",
                     kernel.get("percent_of_copy"), lambda value: value >= percent,
                     lambda value: f"{value:.1f}, the copy {copy:.0f} GB/s")  # fmt: skip
    smart = kernels.get(LARGE.format("smart"), {}).get("us")
    yield number("smart, bucket 512, exact, 64 M elements: ms", "<= 10", smart, lambda value: value <= 10_000,
                 lambda value: f"{value / 1e3:.2f}")  # fmt: skip


def codec_overhead(results):
    result = results.json("codec_overhead_cuda_bf16.json")
    kernels = results.json("codec_rates.json").get("kernels", {})
    plain = kernels.get("sgd_update/f32/272474", {}).get("us")
    for name, codec in result.get("codecs", {}).items():
        kind, _, bucket = name.partition(", bucket ")
        kernel = kernels.get(f"codec/{kind}/bucket:{bucket}/update/272474", {}).get("us")
        alone = "" if kernel is None or plain is None else f"; alone with the update {kernel:.1f} us, update {plain:.1f}"
        yield number(f"{name}: percent added to a ResNet-20 step", "<= 3", codec["added_percent"],
                     lambda value: value <= 3,
                     lambda value: f"{value:.1f}, {1e3 * codec['added_ms']:.1f} us{alone}")  # fmt: skip
    if not result.get("codecs"):
        yield number("each codec: percent added to a ResNet-20 step", "<= 3", None, None, None)


def epochs(results):
    for batch in (64, 128):
        rows, seconds = results.epochs(f"epochs_{batch}"), results.seconds(f"epochs_{batch}")
        times = [float(row["seconds"]) for row in rows]
        estimate = None
        if seconds is not None and len(times) > 1:
            # The mean, since the file has hundredths of seconds. What is not epochs is start and end.
            each = sum(times[1:]) / (len(times) - 1)
            estimate = seconds - sum(times) + 200 * each
        yield number(f"200 epochs of ResNet-20, batch {batch}, estimated from {len(times)}: seconds", "< 60", estimate,
                     lambda value: value < 60,
                     lambda value: f"{value:.1f}, an epoch {each:.3f}, start and end {value - 200 * each:.1f}")  # fmt: skip
    rows, seconds = results.epochs("run_200"), results.seconds("run_200")
    whole = seconds if len(rows) == 200 else None
    yield number("200 epochs of ResNet-20, batch 128, measured: seconds", "< 60", whole, lambda value: value < 60,
                 lambda value: f"{value:.1f}, test accuracy {rows[-1]['test_accuracy']} %")  # fmt: skip


def main():
    if len(sys.argv) not in (2, 3):
        raise SystemExit(__doc__)
    results = Results(pathlib.Path(sys.argv[1]))
    goals = [goal for part in (correctness, named_cases, peers, codec_rates, codec_overhead, epochs)
             for goal in part(results)]  # fmt: skip
    if len(sys.argv) == 3:
        pathlib.Path(sys.argv[2]).write_text(json.dumps(goals, indent=1) + "\n")
    for goal in goals:
        needed = f"{goal['needed']}: " if goal["needed"] else ""
        print(f"{goal['verdict']:<8} {goal['goal']}: {needed}{goal['measured']}")


if __name__ == "__main__":
    main()
