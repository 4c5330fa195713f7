#!/usr/bin/env python3
"""coverage.py COVERAGE.json UNCOVERED.txt: the table of scripts/coverage.sh from gcovr's JSON, and the list of lines and
branches that were not reached in the folders where every one must be explained."""
import json
import sys
from collections import defaultdict

EXPLAINED = ("engine/", "quant/", "train/")


def share(reached, all_of):
    return f"{reached:6} of {all_of:6}  {100 * reached / all_of if all_of else 100:6.1f} %"


def main(source, uncovered):
    totals = defaultdict(lambda: [0, 0, 0, 0])
    rows, missing = [], []
    with open(source) as file:
        files = json.load(file)["files"]
    for entry in sorted(files, key=lambda entry: entry["file"]):
        name = entry["file"]
        lines = [line for line in entry["lines"] if not line["gcovr/noncode"]]
        branches = [(line["line_number"], branch["count"]) for line in lines for branch in line["branches"]]
        counts = [sum(line["count"] > 0 for line in lines), len(lines),
                  sum(count > 0 for _, count in branches), len(branches)]
        rows.append((name, counts))
        for key in (name.split("/")[0] + "/", "all"):
            totals[key] = [a + b for a, b in zip(totals[key], counts)]
        if name.startswith(EXPLAINED):
            missing += [f"{name}:{line['line_number']}: line" for line in lines if line["count"] == 0]
            reached = {line["line_number"] for line in lines if line["count"] > 0}
            open_at = sorted({number for number, count in branches if count == 0 and number in reached})
            missing += [f"{name}:{number}: branch" for number in open_at]
    width = max(len(name) for name, _ in rows)
    print(f"{'':{width}}  {'lines':>25}  {'branches':>25}")
    for name, counts in rows + sorted(totals.items(), key=lambda item: item[0] == "all"):
        print(f"{name:{width}}  {share(*counts[:2])}  {share(*counts[2:])}")
    with open(uncovered, "w") as file:
        file.write("".join(line + "\n" for line in missing))
    print(f"\n{len(missing)} lines and branches of {', '.join(EXPLAINED)} were not reached: {uncovered}")


if __name__ == "__main__":
    main(*sys.argv[1:])
