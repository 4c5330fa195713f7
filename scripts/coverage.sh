#!/usr/bin/env bash
# Builds with gcov's counters, runs all tests and prints which share of lines and branches they reach, by file, by folder
# and in all. build/coverage/uncovered.txt then lists the lines and branches of engine/, quant/ and train/ that no test
# takes; docs/coverage.md says why of each.
#
#   scripts/coverage.sh              everything; 5 to 10 minutes on 2 cores besides the build
#   scripts/coverage.sh OPTIONS      of ctest, for example -R Tape: what these tests reach is added to what earlier
#                                    ones did
#
# Branches that only an exception takes, and those that the compiler adds, do not count: scripts/coverage.py.
set -euo pipefail
source "$(dirname "${BASH_SOURCE[0]}")/common.sh"

install_packages "${build_packages[@]}"
build_preset coverage
cd "$root"
if [ "$#" -eq 0 ]; then find build/coverage -name '*.gcda' -delete; fi
# A program that is killed writes no counts, and what is installed is built without counters.
unreached='^(kill_and_resume|installed_c_library|python_package)$'
export OMP_WAIT_POLICY=passive # tests run side by side; a thread that spins takes the core of another test
ctest --preset coverage -j "$(nproc)" --exclude-regex "$unreached" "$@" | tail -n 12

python3 scripts/coverage.py build/coverage build/coverage/uncovered.txt
