#!/usr/bin/env python3
"""coverage.py BUILD_FOLDER UNCOVERED.txt: the table of scripts/coverage.sh from gcov's counts, and the list of lines
and branches that were not reached in the folders where every one must be explained.

gcov counts jumps of the machine's program, of which many are the compiler's own: guards of static variables, clean-up of
what an exception leaves behind, copies of loops. And it counts a text as often as it was compiled. Here a decision of the
source counts, twice: once for each way.
 - Its line has `if`, `for`, `while`, `switch`, `?`, `&&` or `||`, or continues one that ends in such an operator.
 - It is no QSTEP_CHECK, whose failure is a mistake inside the library.
 - Something came to it: of a jump that went neither way, what kept it away is counted itself, as a branch before it or
   as a line.
 - Of the copies of a line, instantiations of a template and places where a function was put in line, the best one
   counts, alone: what two of them did is not added up. A copy has as many jumps as its line has decisions; where the
   jumps of a function cannot be cut so, they are one copy. Copies with fewer jumps, in which the compiler has decided
   something itself, count only where there is no other."""
import json
import os
import re
import subprocess
import sys
from collections import defaultdict
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
OWN = ("engine/", "kernels/", "quant/", "layers/", "data/", "train/", "apps/", "bindings/")
EXPLAINED = ("engine/", "quant/", "train/")
DECISION = re.compile(r"\b(?:if|for|while)\b|\?|\s&&|\|\|")
CONTINUED = re.compile(r"(&&|\|\|)$")
TEXT = re.compile(r'"(\\.|[^"\\])*"|//.*')
NO_CODE = re.compile(r"^[\s{}();]*$")


def counts_of(object_file):
    """gcov's report on one object."""
    command = ["gcov", "--json-format", "--stdout", "--branch-probabilities", object_file.resolve()]
    return json.loads(subprocess.run(command, capture_output=True, check=True).stdout)


class SourceFile:
    """What the tests reached of a file, from the reports on all objects that hold code of it."""

    def __init__(self, name):
        with open(ROOT / name) as file:
            self.text = [TEXT.sub('""', line).rstrip() for line in file]
        self.lines = defaultdict(int)
        self.jumps = defaultdict(dict)  # of a line: those of each function that holds it
        self.decisions, self.switches = {}, set()
        for number, line in enumerate(self.text, 1):
            if "QSTEP_CHECK" in line:
                continue
            if re.search(r"\bswitch\b", line):
                self.switches.add(number)
            continues = number > 1 and CONTINUED.search(self.text[number - 2])
            if DECISION.search(line) or continues:
                self.decisions[number] = max(1, len(DECISION.findall(line)))

    def add(self, line):
        number, branches = line["line_number"], line["branches"]
        if NO_CODE.match(self.text[number - 1]):
            return
        self.lines[number] += line["count"]
        # The same function with the same jumps in another object is the same for the linker.
        key = line.get("function_name", ""), tuple(branch["throw"] for branch in branches)
        before = self.jumps[number].get(key, [0] * len(branches))
        self.jumps[number][key] = [a + branch["count"] for a, branch in zip(before, branches)]

    def copies_of(self, number):
        """The jumps of each copy of a line, as pairs of counts."""
        size, copies = self.decisions[number], []
        for (_, throws), counts in self.jumps[number].items():
            # A call that may throw has two ways too.
            pairs = [counts[i:i + 2] for i in range(0, len(counts) - 1, 2) if not any(throws[i:i + 2])]
            length = size if len(pairs) % size == 0 else len(pairs)
            copies += [pairs[i:i + length] for i in range(0, len(pairs), length or 1)]
        most = max((len(copy) for copy in copies if any(map(any, copy))), default=0)
        return [copy for copy in copies if len(copy) >= min(most, size)]

    def branches_of(self, number):
        """(reached, all) of a line."""
        if number in self.switches:
            counts = max(self.jumps[number].values(), key=lambda ways: sum(count > 0 for count in ways), default=[])
            return sum(count > 0 for count in counts), len(counts)
        results = []
        for copy in self.copies_of(number):
            ways = [sum(count > 0 for count in pair) for pair in copy if any(pair)]
            if ways:
                results.append((sum(ways), 2 * len(ways)))
        return max(results, key=lambda result: (result[0] - result[1], result[0]), default=(0, 0))

    def branches(self):
        numbers = sorted(number for number in self.lines if number in self.decisions or number in self.switches)
        return {number: self.branches_of(number) for number in numbers}


def read_counts(build):
    """The own source files by name."""
    files = {}
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        for report in pool.map(counts_of, sorted(Path(build).rglob("*.gcno"))):
            for entry in report["files"]:
                path = Path(os.path.normpath(Path(report["current_working_directory"], entry["file"])))
                name = str(path.relative_to(ROOT)) if path.is_relative_to(ROOT) else ""
                if not name.startswith(OWN):
                    continue
                if name not in files:
                    files[name] = SourceFile(name)
                for line in entry["lines"]:
                    files[name].add(line)
    return files


def share(reached, all_of):
    return f"{reached:6} of {all_of:6}  {100 * reached / all_of if all_of else 100:6.1f} %"


def main(build, uncovered):
    totals = defaultdict(lambda: [0, 0, 0, 0])
    rows, missing = [], []
    for name, file in sorted(read_counts(build).items()):
        branches = file.branches()
        counts = [sum(count > 0 for count in file.lines.values()), len(file.lines),
                  sum(reached for reached, _ in branches.values()), sum(of for _, of in branches.values())]
        rows.append((name, counts))
        for key in (name.split("/")[0] + "/", "all"):
            totals[key] = [a + b for a, b in zip(totals[key], counts)]
        if name.startswith(EXPLAINED):
            missing += [f"{name}:{number}: line" for number, count in sorted(file.lines.items()) if count == 0]
            missing += [f"{name}:{number}: branch" for number, (taken, of) in branches.items()
                        if file.lines[number] and taken < of]
    width = max(len(name) for name, _ in rows)
    print(f"{'':{width}}  {'lines':>25}  {'branches':>25}")
    for name, counts in rows + sorted(totals.items(), key=lambda item: item[0] == "all"):
        print(f"{name:{width}}  {share(*counts[:2])}  {share(*counts[2:])}")
    with open(uncovered, "w") as file:
        file.write("".join(line + "\n" for line in missing))
    print(f"\n{len(missing)} lines and branches of {', '.join(EXPLAINED)} were not reached: {uncovered}")


if __name__ == "__main__":
    main(*sys.argv[1:])
