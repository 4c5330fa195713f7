#!/usr/bin/env bash
# Installs what is missing, builds everything and runs every test; ends with ctest's summary and status.
#
#   scripts/test.sh [OPTIONS]    options of ctest, for example -R conv
set -euo pipefail
source "$(dirname "${BASH_SOURCE[0]}")/common.sh"

install_packages "${build_packages[@]}"
build_preset cpu
cd "$root"
exec ctest --preset cpu -j "$(nproc)" "$@"
