#!/usr/bin/env bash
# Builds the fuzz targets with clang and runs each for some time, on all cores, from the inputs in tests/fuzz/corpus
# and from what earlier runs found (build/fuzz/corpus). An input that breaks a target stays in build/fuzz/broken.
#
#   scripts/fuzz.sh [SECONDS [TARGET...]]    20 seconds each; targets by name: npy, command_line
set -euo pipefail
source "$(dirname "${BASH_SOURCE[0]}")/common.sh"

seconds="${1:-20}"
targets=("${@:2}")
if [ "${#targets[@]}" -eq 0 ]; then targets=(cifar10 command_line npy safetensors stream); fi
[[ "$seconds" =~ ^[0-9]+$ ]] || fail "'$seconds' is no number of seconds"
for target in "${targets[@]}"; do
    [ -f "$root/tests/fuzz/fuzz_$target.cpp" ] || fail "there is no fuzz target '$target'"
done

install_packages "${build_packages[@]}" "${clang_packages[@]}"
build_preset fuzz "${targets[@]/#/fuzz_}"
export folder="$root/build/fuzz" seconds root

# run_target NAME: prints one line, and the end of the log where it found something.
run_target() {
    local corpus="$folder/corpus/$1" log="$folder/fuzz_$1.log"
    mkdir -p "$corpus" "$folder/broken"
    if "$folder/tests/fuzz/fuzz_$1" -max_total_time="$seconds" -max_len=2400 -timeout=120 -print_final_stats=1 \
        -artifact_prefix="$folder/broken/$1-" "$corpus" "$root/tests/fuzz/corpus/$1" >"$log" 2>&1; then
        echo "fuzz_$1: nothing found in $(sed -n 's/^stat::number_of_executed_units: *//p' "$log") executions"
    else
        tail -n 40 "$log"
        echo "fuzz_$1: FAILED; the input is in $folder/broken"
        return 1
    fi
}
export -f run_target

printf '%s\n' "${targets[@]}" | OMP_NUM_THREADS=1 xargs -P "$(nproc)" -I{} bash -c 'run_target {}' ||
    fail "a fuzz target found something"
