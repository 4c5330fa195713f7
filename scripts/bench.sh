#!/usr/bin/env bash
# Installs what is missing, builds, and times every codec and kernel on the CPU beside a copy of the same bytes: some
# minutes. Writes bench/results/kernels_cpu.json and the tables in docs/performance.md.
#
#   scripts/bench.sh [OPTIONS]    options of bench/kernels.py, for example --filter codec/standard
#
# With options the tables in docs/performance.md stay as they are.
set -euo pipefail
source "$(dirname "${BASH_SOURCE[0]}")/common.sh"

install_packages "${build_packages[@]}" python3
build_preset cpu bench_kernels
if [ $# -eq 0 ]; then set -- --document "$root/docs/performance.md"; fi
exec python3 "$root/bench/kernels.py" "$@"
