#!/usr/bin/env bash
# Checks the CUDA backend on this machine and measures it: part of a bundle made by scripts/gpu_bundle.sh. Needs an
# NVIDIA driver and CUDA's libraries (cuDNN 9, cuBLASLt 13), wherever they are; no network. Python 3 for the comparison
# of steps, PyTorch for that of times, compute-sanitizer for its part: what is missing is skipped, and said.
#
#   ./gpu_check.sh [--only PART[,PART..]] [--budget SECONDS] [--results FOLDER] [--unpacked FOLDER]
#
# Every part runs for itself, within its own time (at most nine minutes), whatever happens to the others. After each,
# gpu_check.json in the folder of results is written anew, with the last outcome of every part that ever ran there; at
# the end comes one table. Ends with status 1 if a part failed.
#
# --only      these parts alone, in this order: --list names them. What measures most (step_table, accuracy) runs only
#             if it is named
# --budget    seconds for all parts: a part gets what is left at most, and is put off where that is under 20
# --results   where logs and tables go, results/ here by default
# --unpacked  where the bundle is unpacked, unpacked/ here by default
#
# CUDA_LIBRARIES: folders with CUDA's libraries, separated by colons, where they are not found otherwise.
set -uo pipefail

here="$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)"
self="$here/$(basename "${BASH_SOURCE[0]}")"
unpacked="${GPU_CHECK_UNPACKED:-$here/unpacked}"
results="${GPU_CHECK_RESULTS:-$here/results}"
GPU_CHECK_LIMIT="${GPU_CHECK_LIMIT:-540}" # seconds of the part that runs
skipped=77 # exit status of a part that cannot run here

# name, seconds at most, what it does
parts=(
    "device_report 60 what is here"
    "gpu_tests 540 the tests that need a GPU"
    "one_step_resnet_20 540 a training step of ResNet-20 against the CPU, for each precision and codec"
    "one_step_alexnet 540 the same of AlexNet"
    "one_step_simple 540 the same of the small network"
    "eager_captured 300 eager steps against captured ones"
    "early_start 300 steps whose kernels start before the one before has ended against steps whose do not, and both times"
    "memcheck_kernels 540 compute-sanitizer's memcheck on the own kernels"
    "memcheck_codecs 540 the same on the codecs"
    "racecheck_kernels 540 compute-sanitizer's racecheck on the own kernels"
    "racecheck_codecs 540 the same on the codecs"
    "kernel_benchmarks 480 kernels against a copy of the same bytes"
    "step_times_bf16 540 step times against PyTorch, bf16"
    "step_times_fp32 540 the same in fp32"
    "training 540 a short training run"
    "profile 120 where a step's time goes, node by node"
    "step_table 540 step times of more models, batches and precisions, the fewest rounds"
    "accuracy 540 200 epochs of ResNet-20 with each of the first codecs"
)
only_if_named=" profile step_table accuracy " # measurements for a record, not checks

say() { echo "gpu_check.sh: $1" >&2; }

for file in surroundings checks measurements; do
    source "$here/gpu_check/$file.sh" || exit 1
done

json_text() { printf '%s' "$1" | tr -d '\000-\037' | sed 's/\\/\\\\/g; s/"/\\"/g'; }

case "${1:-}" in
    --part)
        "$2"
        exit
        ;;
    --run)
        find_start "$2"
        exec "${start[@]}" "${@:3}"
        ;;
esac

only="" budget=""
while [ $# -gt 0 ]; do
    case "$1" in
        --only | --budget | --results | --unpacked)
            [ $# -ge 2 ] || { say "$1 needs a value." && exit 2; }
            declare "${1#--}=$2"
            shift 2
            ;;
        --list) printf '%s\n' "${parts[@]}" && exit ;;
        --help) sed -n '2,/^set/s/^# \{0,1\}//p' "$self" && exit ;;
        *) say "there is no option '$1'; --help lists them." && exit 2 ;;
    esac
done
for name in ${only//,/ }; do
    printf '%s\n' "${parts[@]}" | grep -q "^$name " || { say "there is no part '$name'." && exit 2; }
done

if [ -n "$budget" ] && ! [[ "$budget" =~ ^[1-9][0-9]*$ ]]; then say "--budget takes seconds, not '$budget'." && exit 2; fi

mkdir -p "$results/parts" "$unpacked" || exit 1
results="$(cd "$results" && pwd)" unpacked="$(cd "$unpacked" && pwd)"
export GPU_CHECK_UNPACKED="$unpacked" GPU_CHECK_RESULTS="$results"
unxz_payload() {
    if command -v xz >/dev/null; then
        xz -dc "$here/payload.tar.xz"
    else
        python -c 'import lzma, shutil, sys; shutil.copyfileobj(lzma.open(sys.argv[1]), sys.stdout.buffer)' \
            "$here/payload.tar.xz"
    fi
}
unxz_payload | tar -C "$unpacked" -xf - || { say "payload.tar.xz cannot be unpacked: that takes xz or Python 3." && exit 1; }

# The outcomes of all parts that ever ran with these results.
write_report() {
    local entry name separator=""
    printf '{\n "bundle": "%s",\n "host": "%s",\n "parts": [' \
        "$(json_text "$(paste -sd';' "$here/manifest.txt" 2>/dev/null)")" "$(json_text "$(uname -srm)")"
    for entry in "${parts[@]}"; do
        read -r name _ <<<"$entry"
        [ -f "$results/parts/$name.json" ] || continue
        printf '%s\n  %s' "$separator" "$(cat "$results/parts/$name.json")"
        separator=,
    done
    printf '\n ]\n}\n'
}

# chosen: entries of `parts` to run.
chosen=()
if [ -n "$only" ]; then
    for name in ${only//,/ }; do
        for entry in "${parts[@]}"; do [[ "$entry" != "$name "* ]] || chosen+=("$entry"); done
    done
else
    for entry in "${parts[@]}"; do [[ "$only_if_named" == *" ${entry%% *} "* ]] || chosen+=("$entry"); done
fi

rows=() status=0
for entry in "${chosen[@]}"; do
    read -r name limit what <<<"$entry"
    if [ -n "$budget" ]; then
        left=$((budget - SECONDS))
        if [ "$left" -lt 20 ]; then
            rows+=("$(printf '%-18s %-12s' "$name" "put off")")
            continue
        fi
        if [ "$left" -lt "$limit" ]; then limit=$left; fi
    fi
    echo "== $name: $what (at most $limit s)"
    started=$SECONDS
    GPU_CHECK_LIMIT="$limit" timeout --kill-after=10 "$limit" bash "$self" --part "$name" 2>&1 | tee "$results/$name.log"
    code=${PIPESTATUS[0]} seconds=$((SECONDS - started))
    case "$code" in
        0) outcome=passed ;;
        "$skipped") outcome=skipped ;;
        124 | 137) outcome="out of time" status=1 ;;
        *) outcome=failed status=1 ;;
    esac
    # A cut may go through a letter of several bytes.
    note="$(grep -v '^[[:space:]]*$' "$results/$name.log" | tail -1 | cut -c1-200 | iconv -c -f UTF-8 -t UTF-8)"
    rows+=("$(printf '%-18s %-12s %6d s  %s' "$name" "$outcome" "$seconds" "$note")")
    printf '{"part": "%s", "outcome": "%s", "seconds": %d, "note": "%s"}' "$name" "$outcome" "$seconds" \
        "$(json_text "$note")" >"$results/parts/$name.json"
    write_report >"$results/gpu_check.json"
done

echo
printf '%s\n' "${rows[@]}"
echo "written: $results/gpu_check.json"
exit "$status"
