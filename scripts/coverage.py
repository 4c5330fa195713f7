#!/usr/bin/env python3
"""coverage.py COVERAGE.json UNCOVERED.txt: the table of scripts/coverage.sh from gcovr's JSON, and the list of lines and
branches that were not reached in the folders where every one must be explained.

gcov counts jumps of the machine's program, of which many are the compiler's own: guards of static variables, clean-up of
what an exception leaves behind, copies of loops, and a template's text as often as it is compiled. Here a decision of the
source counts, twice: once for each way.
 - Its line has `if`, `for`, `while`, `switch`, `?`, `&&` or `||`, or continues one that ends in such an operator.
 - It is no QSTEP_CHECK, whose failure is a mistake inside the library.
 - Something came to it: of a jump that went neither way, what kept it away is counted itself, as a branch before it or
   as a line.
 - Where a line was compiled to more jumps than it has decisions, both ways of each must have been taken in one copy."""
import json
import re
import sys
from collections import defaultdict

EXPLAINED = ("engine/", "quant/", "train/")
DECISION = re.compile(r"\b(?:if|for|while)\b|\?|\s&&|\|\|")
CONTINUED = re.compile(r"(&&|\|\|)$")
TEXT = re.compile(r'"(\\.|[^"\\])*"|//.*')


def decisions_of(name):
    """Of a file: how many decisions each line holds that holds any, and which lines are a switch."""
    with open(name) as file:
        lines = [TEXT.sub('""', line).rstrip() for line in file]
    decisions, switches = {}, set()
    for number, line in enumerate(lines, 1):
        if "QSTEP_CHECK" in line:
            continue
        if re.search(r"\bswitch\b", line):
            switches.add(number)
        continues = number > 1 and CONTINUED.search(lines[number - 2])
        if DECISION.search(line) or continues:
            decisions[number] = max(1, len(DECISION.findall(line)))
    return decisions, switches


def pairs_of(branches):
    """The two ways of each jump that something came to. What stands alone is a call that did not throw."""
    pairs, i = [], 0
    while i + 1 < len(branches):
        first, second = branches[i], branches[i + 1]
        if first["fallthrough"] and second["fallthrough"]:
            i += 1
            continue
        if first["count"] or second["count"]:
            pairs.append((first["count"] > 0) + (second["count"] > 0))
        i += 2
    return pairs


def branches_of(line, decisions):
    """(reached, all) of a line."""
    pairs = sorted(pairs_of(line["branches"]), reverse=True)[:decisions]
    return sum(pairs), 2 * len(pairs)


def share(reached, all_of):
    return f"{reached:6} of {all_of:6}  {100 * reached / all_of if all_of else 100:6.1f} %"


def main(source, uncovered):
    totals = defaultdict(lambda: [0, 0, 0, 0])
    rows, missing = [], []
    with open(source) as file:
        files = json.load(file)["files"]
    for entry in sorted(files, key=lambda entry: entry["file"]):
        name = entry["file"]
        decisions, switches = decisions_of(name)
        lines = [line for line in entry["lines"] if not line["gcovr/noncode"]]
        branches = {}
        for line in lines:
            number, counts = line["line_number"], [branch["count"] for branch in line["branches"]]
            if number in switches:
                branches[number] = sum(count > 0 for count in counts), len(counts)
            elif number in decisions:
                branches[number] = branches_of(line, decisions[number])
        counts = [sum(line["count"] > 0 for line in lines), len(lines),
                  sum(reached for reached, _ in branches.values()), sum(of for _, of in branches.values())]
        rows.append((name, counts))
        for key in (name.split("/")[0] + "/", "all"):
            totals[key] = [a + b for a, b in zip(totals[key], counts)]
        if name.startswith(EXPLAINED):
            missing += [f"{name}:{line['line_number']}: line" for line in lines if line["count"] == 0]
            reached = {line["line_number"] for line in lines if line["count"] > 0}
            missing += [f"{name}:{number}: branch" for number, (taken, of) in sorted(branches.items())
                        if number in reached and taken < of]
    width = max(len(name) for name, _ in rows)
    print(f"{'':{width}}  {'lines':>25}  {'branches':>25}")
    for name, counts in rows + sorted(totals.items(), key=lambda item: item[0] == "all"):
        print(f"{name:{width}}  {share(*counts[:2])}  {share(*counts[2:])}")
    with open(uncovered, "w") as file:
        file.write("".join(line + "\n" for line in missing))
    print(f"\n{len(missing)} lines and branches of {', '.join(EXPLAINED)} were not reached: {uncovered}")


if __name__ == "__main__":
    main(*sys.argv[1:])
