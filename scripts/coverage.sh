#!/usr/bin/env bash
# Builds with gcov's counters, runs all tests and prints which share of lines and branches they reach, by file and in
# all. build/coverage/uncovered.txt then lists the branches of engine/, quant/ and train/ that no test takes.
#
#   scripts/coverage.sh [OPTIONS]    options of ctest, for example -R train
#
# Branches that only an exception takes, and those that the compiler adds, do not count.
set -euo pipefail
source "$(dirname "${BASH_SOURCE[0]}")/common.sh"

install_packages "${build_packages[@]}" "${coverage_packages[@]}"
build_preset coverage
cd "$root"
find build/coverage -name '*.gcda' -delete
ctest --preset coverage -j "$(nproc)" "$@" | tail -n 12

gcovr --root . --object-directory build/coverage --json build/coverage/coverage.json \
    --exclude-throw-branches --exclude-unreachable-branches \
    --filter 'engine/' --filter 'kernels/' --filter 'quant/' --filter 'layers/' --filter 'data/' --filter 'train/' \
    --filter 'apps/' build/coverage
python3 scripts/coverage.py build/coverage/coverage.json build/coverage/uncovered.txt
