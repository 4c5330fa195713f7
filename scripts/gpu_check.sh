#!/usr/bin/env bash
# Checks the CUDA backend on this machine and measures it: part of a bundle made by scripts/gpu_bundle.sh. Needs an
# NVIDIA driver and CUDA's libraries (cuDNN 9, cuBLASLt 13), wherever they are; no network. Python 3 for the comparison
# of steps, PyTorch for that of times, compute-sanitizer for its part: what is missing is skipped, and said.
#
#   ./gpu_check.sh [--only PART[,PART..] | --rest] [--budget SECONDS] [--results FOLDER] [--unpacked FOLDER]
#                  [--output FOLDER]
#
# Every part runs for itself, within its own time (at most nine minutes), whatever happens to the others; what is worth
# most comes first. After each, gpu_check.json in the folder of results is written anew, with the last outcome of every
# part that ever ran there and with what is to be reached beside what was measured; so is gpu_check.txt, the two tables
# with which it ends. Ends with status 1 if a part failed or ran out of time, 77 if not one of those asked for could run.
#
# --only      these parts alone, in this order: --list names them. Measurements for a record run only if they are named
# --rest      the parts that did not run yet with these results, and behind them those that ran out of time; without it and
#             without --only a call begins with the first part again
# --budget    seconds for all parts: a part gets what is left at most, and is put off where that is under 20
# --results   where logs and tables go, results/ here by default
# --unpacked  where the bundle is unpacked, unpacked/ here by default
# --output    a folder that gets everything in four files, after every part: gpu_check.json, gpu_check.txt,
#             gpu_check.log, and gpu_check.tar.gz with all results but checkpoints. $OUT by default, if it is set
#
# CUDA_LIBRARIES: folders with CUDA's libraries, separated by colons, where they are not found otherwise.
set -uo pipefail

here="$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)"
self="$here/$(basename "${BASH_SOURCE[0]}")"
unpacked="${GPU_CHECK_UNPACKED:-$here/unpacked}"
results="${GPU_CHECK_RESULTS:-$here/results}"
GPU_CHECK_LIMIT="${GPU_CHECK_LIMIT:-540}" # seconds of the part that runs
skipped=77 # exit status of a part that cannot run here
least=20   # seconds with which a part is begun

# name, seconds at most, what it does. In one call of ten minutes the parts down to `faults` should have their turn.
parts=(
    "device_report 60 what is here"
    "first_steps 240 whether training runs, and how long it takes to start"
    "tests_backend 60 GPU tests: memory, copies, launches, captures"
    "tests_codecs 150 GPU tests: codecs, to the bit"
    "codec_rates 120 codecs on 64 M elements against a copy of the same bytes"
    "step_times 150 step times against PyTorch, eager and as one graph, bf16"
    "codec_overhead 150 what each codec adds to a step"
    "epoch_times 90 epochs of ResNet-20, from which 200 are estimated"
    "step_times_compiled 240 step times against PyTorch compiled and as one graph, bf16"
    "early_start 150 steps whose kernels start before the one before has ended against steps whose do not, and both times"
    "own_convolutions 120 steps with the own convolutions against steps with the library's"
    "one_step_resnet_20 240 a training step of ResNet-20 against the CPU, for each precision and codec"
    "eager_captured 120 eager steps against captured ones, and deterministic runs against each other"
    "checkpoints 90 a run that moves from the CPU to the GPU and back"
    "faults 90 what is said of a GPU that is not there, and of too little memory"
    "run_200 200 200 epochs of ResNet-20 with a codec"
    "profile 120 where a step's time goes, node by node"
    "tests_run 300 GPU tests: training steps and programs"
    "tests_kernels 150 GPU tests: own kernels"
    "tests_libraries 400 GPU tests: convolutions and matrix products"
    "one_step_simple 200 a training step of the small network against the CPU"
    "one_step_alexnet 300 the same of AlexNet"
    "memcheck_kernels 300 compute-sanitizer's memcheck on the own kernels"
    "memcheck_codecs 400 the same on the codecs"
    "racecheck_kernels 300 compute-sanitizer's racecheck on the own kernels"
    "racecheck_codecs 400 the same on the codecs"
    "kernel_benchmarks 480 every kernel against a copy of the same bytes"
    "step_times_bf16 540 step times against all forms of PyTorch, bf16"
    "step_times_fp32 540 the same in fp32"
    "step_table 540 step times of more models, batches and precisions, the fewest rounds"
    "accuracy 540 200 epochs of ResNet-20 with each of the first codecs"
)
only_if_named=" step_times_bf16 step_times_fp32 step_table accuracy " # measurements for a record, not checks

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

only="" rest="" budget="" output="${OUT:-}" arguments=("$@")
while [ $# -gt 0 ]; do
    case "$1" in
        --only | --budget | --results | --unpacked | --output)
            [ $# -ge 2 ] || { say "$1 needs a value." && exit 2; }
            declare "${1#--}=$2"
            shift 2
            ;;
        --rest) rest=yes && shift ;;
        --list) printf '%s\n' "${parts[@]}" && exit ;;
        --help) sed -n '2,/^set/s/^# \{0,1\}//p' "$self" && exit ;;
        *) say "there is no option '$1'; --help lists them." && exit 2 ;;
    esac
done
for name in ${only//,/ }; do
    # No pipe: grep would leave while printf still writes.
    [[ " ${parts[*]%% *} " == *" $name "* ]] || { say "there is no part '$name'." && exit 2; }
done

if [ -n "$only" ] && [ -n "$rest" ]; then say "--only and --rest exclude each other." && exit 2; fi
if [ -n "$budget" ] && ! [[ "$budget" =~ ^[1-9][0-9]*$ ]]; then say "--budget takes seconds, not '$budget'." && exit 2; fi
if [ ! -f "$here/payload.tar.xz" ]; then
    say "this is no bundle, for there is no payload.tar.xz beside it: scripts/gpu_bundle.sh makes one." && exit 2
fi

mkdir -p "$results/parts" "$unpacked" ${output:+"$output"} || exit 1
if [ -n "$output" ] && [ -z "${GPU_CHECK_LOGGED:-}" ]; then
    # The log grows line by line, so that whatever ends this machine leaves what was printed until then.
    GPU_CHECK_LOGGED=yes bash "$self" ${arguments[@]+"${arguments[@]}"} 2>&1 | tee -a "$output/gpu_check.log"
    exit "${PIPESTATUS[0]}"
fi
results="$(cd "$results" && pwd)" unpacked="$(cd "$unpacked" && pwd)"
export GPU_CHECK_UNPACKED="$unpacked" GPU_CHECK_RESULTS="$results"
GPU_CHECK_CUDA_FOLDERS="$(cuda_folders)" && export GPU_CHECK_CUDA_FOLDERS

unxz_payload() {
    if command -v xz >/dev/null; then
        xz -dc "$here/payload.tar.xz"
    else
        python -c 'import lzma, shutil, sys; shutil.copyfileobj(lzma.open(sys.argv[1]), sys.stdout.buffer)' \
            "$here/payload.tar.xz"
    fi
}
unpack_payload() {
    if ! command -v xz >/dev/null && ! python -c 'import lzma' 2>/dev/null; then
        say "payload.tar.xz cannot be unpacked: that takes xz or Python 3 with its lzma, and neither is here."
    elif unxz_payload | tar -C "$unpacked" -xf -; then
        return 0
    elif unxz_payload >/dev/null 2>&1; then
        say "payload.tar.xz is whole, but $unpacked does not take what is in it (above: why)."
    else
        say "payload.tar.xz is damaged: copy the bundle again, or make it again."
    fi
    return 1
}
stamp="$(stat -c '%s %Y' "$here/payload.tar.xz")" needed=$((least + 1))
[ "$(cat "$unpacked/payload.stamp" 2>/dev/null)" = "$stamp" ] || needed=$((least + 15)) # with unpacking
if [ -n "$budget" ] && [ "$budget" -lt "$needed" ]; then
    say "with --budget $budget perhaps no part runs, for one begins with $least s or more: --budget $needed runs the first."
fi
if [ "$(cat "$unpacked/payload.stamp" 2>/dev/null)" != "$stamp" ]; then
    unpack_payload || exit 1
    echo "$stamp" >"$unpacked/payload.stamp"
fi

# files_of EXTENSION: those of all parts that ever ran with these results, in the order of `parts`.
files_of() {
    local entry
    for entry in "${parts[@]}"; do
        if [ -f "$results/parts/${entry%% *}.$1" ]; then echo "$results/parts/${entry%% *}.$1"; fi
    done
}

goals_table() {
    local program="$unpacked/scripts/gpu_goals.py"
    if ! python -c 0 2>/dev/null; then
        echo "without Python 3 no table of goals"
    elif [ ! -f "$program" ]; then
        echo "without $program no table of goals"
    else
        python "$program" "$results" "$1" || echo "$program failed: no table of goals"
    fi
}

# Writes gpu_check.json and gpu_check.txt and hands them over, each whole or not at all.
write_report() {
    local file separator="" goals="$results/goals.json" to
    rm -f "$goals"
    {
        files_of row | while read -r file; do cat "$file"; done
        echo
        goals_table "$goals"
    } >"$results/gpu_check.txt.tmp" 2>&1
    {
        printf '{\n "bundle": "%s",\n "host": "%s",\n "parts": [' \
            "$(json_text "$(paste -sd';' "$here/manifest.txt" 2>/dev/null)")" "$(json_text "$(uname -srm)")"
        while read -r file; do
            printf '%s\n  %s' "$separator" "$(cat "$file")"
            separator=,
        done < <(files_of json)
        printf '\n ],\n "goals": %s\n}\n' "$(cat "$goals" 2>/dev/null || echo '[]')"
    } >"$results/gpu_check.json.tmp"
    for file in txt json; do mv "$results/gpu_check.$file.tmp" "$results/gpu_check.$file"; done
    if [ -z "$output" ]; then return; fi
    tar -czf "$output/gpu_check.tar.gz.tmp" --exclude='*.safetensors' --exclude='*.tmp' -C "$results" .
    for file in txt json; do cp "$results/gpu_check.$file" "$output/gpu_check.$file.tmp"; done
    for to in "$output"/gpu_check.{txt,json,tar.gz}; do mv "$to.tmp" "$to"; done
}

# put_down OUTCOME SECONDS NOTE: of the part $name.
put_down() {
    printf '%-20s %-12s %6s s  %s\n' "$name" "$1" "$2" "$3" >"$results/parts/$name.row"
    printf '{"part": "%s", "outcome": "%s", "seconds": %d, "note": "%s"}' "$name" "$1" "$2" "$(json_text "$3")" \
        >"$results/parts/$name.json"
}

# outcome_of PART: the last one with these results; "none" where it never had its turn.
outcome_of() {
    local outcome
    outcome="$(sed -n 's/.*"outcome": "\([^"]*\)".*/\1/p' "$results/parts/$1.json" 2>/dev/null)"
    echo "${outcome:-none}"
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
if [ -n "$rest" ]; then
    first=() last=()
    for entry in "${chosen[@]}"; do
        case "$(outcome_of "${entry%% *}")" in
            none | "put off") first+=("$entry") ;;
            "out of time") last+=("$entry") ;;
        esac
    done
    chosen=(${first[@]+"${first[@]}"} ${last[@]+"${last[@]}"})
    if [ "${#chosen[@]}" -eq 0 ]; then say "nothing is left: with these results every part had its turn." && exit 0; fi
fi

status=0 ran=0
for entry in "${chosen[@]}"; do
    read -r name limit what <<<"$entry"
    if [ -n "$budget" ]; then
        left=$((budget - SECONDS))
        if [ "$left" -lt "$least" ]; then
            [ -f "$results/parts/$name.json" ] || put_down "put off" 0 "no time was left"
            continue
        fi
        if [ "$left" -lt "$limit" ]; then limit=$left; fi
    fi
    echo "== $name: $what (at most $limit s, at $SECONDS s)"
    started=$SECONDS
    : >"$results/$name.log"
    # Of first_steps: what training does not run without.
    while read -r setting; do export "${setting?}"; done < <(cat "$results/environment.txt" 2>/dev/null)
    GPU_CHECK_LIMIT="$limit" timeout --kill-after=10 "$limit" bash "$self" --part "$name" >"$results/$name.log" 2>&1 &
    pid=$!
    tail -n +1 -f -s 0.2 --pid="$pid" "$results/$name.log"
    wait "$pid"
    code=$? seconds=$((SECONDS - started))
    # timeout leads a group of its own; what the part left running would disturb those behind it.
    kill -KILL -- "-$pid" 2>/dev/null
    [ "$code" -eq "$skipped" ] || ran=$((ran + 1))
    case "$code" in
        0) outcome=passed ;;
        "$skipped") outcome=skipped ;;
        124 | 137) outcome="out of time" status=1 ;;
        *) outcome=failed status=1 ;;
    esac
    # A cut may go through a letter of several bytes.
    note="$(grep -v '^[[:space:]]*$' "$results/$name.log" | tail -1 | cut -c1-200 | iconv -c -f UTF-8 -t UTF-8)"
    put_down "$outcome" "$seconds" "$note"
    write_report
done
write_report

echo
cat "$results/gpu_check.txt"
echo "written: $results/gpu_check.json${output:+, and all of it to $output}"
if [ "$ran" -eq 0 ]; then say "nothing that was asked for could run: the table says why." && exit "$skipped"; fi
exit "$status"
