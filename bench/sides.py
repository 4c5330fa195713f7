"""Sides of a comparison: processes that take turns, so that whatever disturbs the machine disturbs all of them.

Every side waits on its input for a number of steps, runs them, and prints their times in milliseconds (the protocol of
apps/bench_step.cpp). Only one computes at a time; there is a pause between two sides, because OpenMP's threads spin
for some milliseconds before they sleep.
"""

import os
import pathlib
import statistics
import subprocess
import time

ROOT = pathlib.Path(__file__).resolve().parents[1]
PAUSE = 0.05  # seconds; OpenMP's threads of the side before have gone to sleep by then


class Side:
    """One process of the protocol."""

    def __init__(self, name, command, environment=()):
        self.name, self.command, self.quantized = name, command, "none" not in command
        self.process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
            env={**os.environ, **dict(environment)},
        )  # fmt: skip
        self.ready = self.process.stdout.readline().strip()
        if not self.ready.startswith("ready"):
            raise SystemExit(f"{name} did not start: {' '.join(command)}")
        self.rounds = []

    def run(self, steps):
        time.sleep(PAUSE)
        self.process.stdin.write(f"{steps}\n")
        self.process.stdin.flush()
        times = [float(text) for text in self.process.stdout.readline().split()]
        if len(times) != steps:
            raise SystemExit(f"{self.name} stopped")
        self.rounds.append(times)

    def medians(self):
        return [statistics.median(times) for times in self.rounds]

    def median(self):
        return statistics.median(t for times in self.rounds for t in times)

    def ratios_to(self, ours, position):
        """A round's median over that of ours just before; this peer is number `position` of a round."""
        before = [statistics.median(times) for times in ours.rounds]
        peers = len(before) // len(self.rounds)
        return [m / before[peers * turn + position] for turn, m in enumerate(self.medians())]

    def close(self):
        self.process.stdin.close()
        self.process.wait()


def output_of(*command):
    try:
        return subprocess.run(command, capture_output=True, text=True, cwd=ROOT, check=True).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return ""


def processor():
    for line in output_of("lscpu").splitlines():
        if line.startswith("Model name:"):
            return line.split(":", 1)[1].strip()
    return "unknown"


def vector_level():
    """What decides which loops the libraries take."""
    with open("/proc/cpuinfo", encoding="utf-8") as file:
        flags = next((line.split() for line in file if line.startswith("flags")), [])
    return [name for name in ("avx2", "avx512f", "avx512_bf16", "amx_bf16") if name in flags]


def commit():
    """The commit the working tree is at, marked where anything but recorded results differs from it; in a bundle
    (scripts/gpu_bundle.sh) the one that it was made of."""
    manifest = ROOT / "manifest.txt"
    if manifest.exists():
        return manifest.read_text().split("commit: ", 1)[1].split()[0]
    changed = output_of("git", "status", "--porcelain", "--untracked-files=no", "--", ".", ":!bench/results")
    return output_of("git", "rev-parse", "--short", "HEAD") + ("-dirty" if changed else "")


def machine():
    return {"device": processor(), "vector_level": vector_level(), "commit": commit()}
