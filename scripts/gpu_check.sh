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
skipped=77 # exit status of a part that cannot run here

# name, seconds at most, what it does
parts=(
    "device_report 60 what is here"
    "gpu_tests 540 the tests that need a GPU"
    "one_step_resnet_20 540 a training step of ResNet-20 against the CPU, for each precision and codec"
    "one_step_alexnet 540 the same of AlexNet"
    "one_step_simple 540 the same of the small network"
    "eager_captured 300 eager steps against captured ones"
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
program_limit=240 # seconds at most of one test program
codecs=(standard smart hadamard exponential qsgd terngrad sign natural dorefa fixed)

say() { echo "gpu_check.sh: $1" >&2; }
skip() {
    echo "$1"
    exit "$skipped"
}

# --- surroundings -----------------------------------------------------------------------------------------------

python() { command -v python3 >/dev/null && python3 "$@"; }

# Folders of pip's packages.
site_folders() {
    python -c 'import site, sys; print("\n".join({*site.getsitepackages(), site.getusersitepackages(), *sys.path}))' \
        2>/dev/null | awk NF
}

# Folders that hold CUDA's libraries, in the order in which they are to be searched: those beside cuBLASLt 13 first, since
# a cuDNN for CUDA 12 has the same file name as one for CUDA 13.
cuda_folders() {
    local folders folder
    mapfile -t folders < <({
        tr ':' '\n' <<<"${CUDA_LIBRARIES:-}"
        ls -d /usr/local/cuda/lib64 /usr/local/cuda-1[3-9]*/lib64 /usr/local/cuda*/targets/x86_64-linux/lib \
            /opt/cuda/lib64 2>/dev/null
        site_folders | while read -r folder; do ls -d "$folder"/nvidia/*/lib 2>/dev/null; done
    } | awk 'NF && !seen[$0]++')
    for folder in "${folders[@]}"; do [ ! -e "$folder/libcublasLt.so.13" ] || echo "$folder"; done
    for folder in "${folders[@]}"; do [ ! -d "$folder" ] || [ -e "$folder/libcublasLt.so.13" ] || echo "$folder"; done
}

libraries() { echo "$unpacked/lib:$(cuda_folders | paste -sd: -)${LD_LIBRARY_PATH:+:$LD_LIBRARY_PATH}"; }

# find_start PROGRAM: sets `start`, the command that runs it with the bundle's libraries; also with its C library where
# the machine's is too old.
find_start() {
    local path
    path="$(libraries)"
    # Without -q: grep would leave while ldd still writes.
    if LD_LIBRARY_PATH="$path" ldd "$1" 2>&1 | grep "version .GLIBC" >/dev/null; then
        start=("$unpacked/lib/system/ld-linux-x86-64.so.2" --library-path "$unpacked/lib/system:$path" "$1")
    else
        start=(env "LD_LIBRARY_PATH=$path" "$1")
    fi
}

# run PROGRAM ARGUMENT...
run() {
    local start
    find_start "$1"
    "${start[@]}" "${@:2}"
}

# started_by PROGRAM: a program for Python's scripts to start that runs it as above. Python itself must not see the
# bundle's libraries, or PyTorch would load them instead of its own.
started_by() {
    local starter="$unpacked/start_$(basename "$1")"
    printf '#!/bin/sh\nexec bash "%s" --run "%s" "$@"\n' "$self" "$1" >"$starter"
    chmod 755 "$starter"
    echo "$starter"
}

train="$unpacked/apps/cifar_train"
need_program() { [ -x "$1" ] || skip "the bundle has no $(basename "$1")"; }
need_python() { python -c 0 2>/dev/null || skip "no python3"; }
need_gpu() { nvidia-smi -L 2>/dev/null | grep -q GPU || [ -e /dev/nvidia0 ] || skip "no GPU"; }

# The folder with CIFAR-10's binary files, unpacked if it came in a pack; nothing where there is none.
cifar10() {
    local folder
    for folder in "$here/data/cifar-10-batches-bin" "$here/data" "$unpacked/data/cifar-10-batches-bin"; do
        if [ -f "$folder/data_batch_1.bin" ]; then echo "$folder" && return; fi
    done
    if [ -f "$here/data/unpack_cifar10.py" ] && python -c 'import numpy, PIL' 2>/dev/null; then
        python "$here/data/unpack_cifar10.py" "$unpacked/data" >/dev/null 2>&1 &&
            echo "$unpacked/data/cifar-10-batches-bin"
    fi
}

# --- parts: the last line that one prints goes into the table ---------------------------------------------------

device_report() {
    local missing program
    command -v nvidia-smi >/dev/null || { echo "no nvidia-smi: is there a driver?" && return 1; }
    nvidia-smi || return 1
    echo "C library: $(ldd --version | head -1)"
    echo "folders of CUDA's libraries: $(cuda_folders | paste -sd' ' -)"
    for program in "$unpacked"/apps/* "$unpacked"/tests/test_cuda_*; do
        [ -x "$program" ] || continue
        missing="$(LD_LIBRARY_PATH="$(libraries)" ldd "$program" 2>&1 | grep 'not found' | grep -v GLIBC | sort -u)"
        if [ -n "$missing" ]; then
            echo "$(basename "$program") misses:$missing (set CUDA_LIBRARIES)"
            return 1
        fi
    done
    nvidia-smi --query-gpu=name,compute_cap,driver_version,memory.total --format=csv,noheader | head -1
}

# ran FILE: how many cases of a report by GoogleTest ran. Tests skip themselves where they find no GPU.
ran() { grep -c '"result": "COMPLETED"' "$1"; }

gpu_tests() {
    local program failed=() count=0 cases=0 name report
    need_gpu
    for program in "$unpacked"/tests/test_cuda_*; do
        [ -x "$program" ] || continue
        name="$(basename "$program")"
        report="$results/$name.json"
        rm -f "$report"
        count=$((count + 1))
        timeout --kill-after=10 "$program_limit" bash "$self" --run "$program" --gtest_brief=1 \
            --gtest_output="json:$report" || failed+=("$name")
        if [ -f "$report" ]; then cases=$((cases + $(ran "$report"))); fi
    done
    [ "$count" -gt 0 ] || skip "the bundle has no GPU tests"
    if [ "${#failed[@]}" -gt 0 ]; then echo "failed: ${failed[*]}" && return 1; fi
    if [ "$cases" -eq 0 ]; then echo "no case ran: the tests see no GPU" && return 1; fi
    echo "$count programs passed, $cases cases ran, $(cat "$results"/test_cuda_*.json | grep -c '"SKIPPED"') skipped"
}

# dump DEVICE PRECISION CODEC FILE: the last of the first $steps steps of $model.
dump() {
    run "$train" --data synthetic --model "$model" --precision "$2" --quant "$3" --device "$1" --batch-size 32 \
        --max-steps "$steps" --seed 1 --dump-step "$4" >"$4.log" 2>&1 || { tail -3 "$4.log" && return 1; }
}

# Whether what $codec made of the GPU's gradient in $folder/cuda is, bit by bit, what the CPU makes of it.
same_codes() {
    local quantize="$unpacked/apps/quantize" compare="$unpacked/scripts/gpu_compare_steps.py"
    python "$compare" --gradient "$folder/cuda" "$folder/gradient.npy" &&
        run "$quantize" "$folder/gradient.npy" "$folder/quantized.npy" --quant "$codec" --seed 1 --device cpu \
            --steps-along-first-axis >"$folder/quantize.log" 2>&1 &&
        python "$compare" --quantized "$folder/cuda" "$folder/quantized.npy"
}

# one_step MODEL STEPS: without a codec the step is compared with the CPU's. The steps before one with a codec diverge where
# a rounding turns over, so there the codec alone is.
one_step() {
    local model="$1" steps="$2" precision codec against bad=() count=0 folder="$unpacked/steps"
    need_gpu && need_program "$train" && need_program "$unpacked/apps/quantize" && need_python
    mkdir -p "$folder"
    for precision in fp32 bf16; do
        dump cpu "$precision" none "$folder/cpu_$precision" || { echo "the CPU's step failed" && return 1; }
    done
    for precision in fp32 tf32 bf16; do
        against=("$folder/cuda" "$folder/cpu_fp32")
        if [ "$precision" != fp32 ]; then against=(--precision "$precision" "${against[@]}" "$folder/cpu_bf16"); fi
        for codec in none "${codecs[@]}"; do
            echo "$model, $precision, $codec"
            count=$((count + 1))
            dump cuda "$precision" "$codec" "$folder/cuda" || { bad+=("$precision/$codec") && continue; }
            if [ "$codec" = none ]; then
                python "$unpacked/scripts/gpu_compare_steps.py" "${against[@]}" || bad+=("$precision")
            else
                same_codes || bad+=("$precision/$codec")
            fi
        done
    done
    rm -rf "$folder"
    if [ "${#bad[@]}" -gt 0 ]; then echo "${#bad[@]} of $count differ: ${bad[*]}" && return 1; fi
    echo "$count steps agree with the CPU, and codecs to the bit"
}
# The first step of a ResNet has no gradient inside its blocks, whose last batch norms start at zero.
one_step_resnet_20() { one_step resnet_20 3; }
one_step_alexnet() { one_step alexnet 1; }
one_step_simple() { one_step simple 1; }

eager_captured() {
    local mode precision runs="$unpacked/runs" options
    need_gpu && need_program "$train" && need_python
    for precision in fp32 tf32 bf16; do
        rm -rf "$runs"
        for mode in captured eager; do
            options=(--deterministic)
            if [ "$mode" = eager ]; then options+=(--no-graph); fi
            run "$train" --data synthetic --device cuda --precision "$precision" --quant standard --max-steps 20 \
                --seed 1 --output "$runs/$mode" "${options[@]}" || return 1
        done
        python "$unpacked/scripts/gpu_compare_steps.py" --exact "$runs"/captured/checkpoint.safetensors \
            "$runs"/eager/checkpoint.safetensors || return 1
    done
    echo "20 steps bitwise the same in fp32, tf32 and bf16"
}

# sanitize TOOL PROGRAM: tests are of small sizes throughout.
sanitize() {
    local tool="$1" program="$unpacked/tests/$2" report="$results/$1_$2.json" sanitizer
    need_gpu && need_program "$program"
    sanitizer="$(command -v compute-sanitizer || ls /usr/local/cuda*/bin/compute-sanitizer 2>/dev/null | tail -1)"
    if [ -z "$sanitizer" ]; then
        sanitizer="$(site_folders | while read -r folder; do
            ls "$folder"/nvidia/*/bin/compute-sanitizer 2>/dev/null
        done | head -1)"
    fi
    [ -n "$sanitizer" ] || skip "no compute-sanitizer"
    rm -f "$report"
    run "$sanitizer" --tool "$tool" --error-exitcode 1 "$program" --gtest_brief=1 \
        --gtest_output="json:$report" || { echo "$tool found something, or a test failed" && return 1; }
    if [ "$(ran "$report")" -eq 0 ]; then echo "no case ran: the tests see no GPU" && return 1; fi
    echo "$tool found nothing in $(ran "$report") cases"
}
memcheck_kernels() { sanitize memcheck test_cuda_kernels; }
memcheck_codecs() { sanitize memcheck test_cuda_codecs; }
racecheck_kernels() { sanitize racecheck test_cuda_kernels; }
racecheck_codecs() { sanitize racecheck test_cuda_codecs; }

kernel_benchmarks() {
    local program="$unpacked/apps/bench_kernels" output="$results/kernels_cuda.json"
    need_gpu && need_program "$program"
    if python -c 0 2>/dev/null; then
        python "$unpacked/bench/kernels.py" --device cuda --limit 420 --program "$(started_by "$program")" \
            --output "$output"
    else
        run "$program" --device cuda --benchmark_min_time=0.03 --benchmark_out="$output" --benchmark_out_format=json
    fi
}

step_times() {
    need_gpu && need_program "$unpacked/apps/bench_step"
    python -c 'import torch; assert torch.cuda.is_available()' 2>/dev/null || skip "no PyTorch with CUDA"
    python "$unpacked/bench/compare_pytorch.py" --device cuda --precision "$1" --starts 1 --rounds 7 \
        --program "$(started_by "$unpacked/apps/bench_step")" --output "$results/compare_pytorch_cuda_$1.json"
}
step_times_bf16() { step_times bf16; }
step_times_fp32() { step_times fp32; }

training() {
    local data
    need_gpu && need_program "$train"
    data="$(cifar10)"
    rm -rf "$results/run"
    run "$train" --data "${data:-synthetic}" --device cuda --precision bf16 --quant standard --batch-size 128 \
        --epochs 3 --seed 1 --output "$results/run" || return 1
    echo "3 epochs on ${data:-the synthetic set}: $(tail -1 "$results/run/metrics.csv")"
}

# Nsight Compute, where it is and may, looks at the same step kernel by kernel.
profile() {
    local program="$unpacked/apps/bench_step" options precision counters="$results/profile_counters.txt"
    need_gpu && need_program "$program"
    for precision in bf16 fp32; do
        options=(--model resnet_20 --batch-size 128 --precision "$precision" --quant standard --device cuda)
        run "$program" "${options[@]}" --profile | tee "$results/profile_$precision.txt" || return 1
    done
    if command -v ncu >/dev/null; then
        options=(--clock-control none --launch-skip 200 --launch-count 200 --section SpeedOfLight)
        find_start "$program"
        echo 3 | timeout 60 ncu "${options[@]}" "${start[@]}" --model resnet_20 --precision bf16 --quant standard \
            --device cuda --no-graph >"$counters" 2>&1 || echo "ncu measured nothing: see $counters"
    fi
    tail -1 "$results/profile_bf16.txt"
}

# Ours with each codec, then cells of models, batches and precisions beside PyTorch until the time is used up: those that
# matter most come first, and each is written for itself.
step_table() {
    local program="$unpacked/apps/bench_step" model batch precision codec name cell count=0 started=$SECONDS
    need_gpu && need_program "$program"
    for codec in none "${codecs[@]}"; do
        echo "$codec: $(echo 200 | run "$program" --device cuda --precision bf16 --batch-size 128 --quant "$codec" |
            tail -1 | cut -d' ' -f1) ms"
    done | tee "$results/step_codecs.txt"
    python -c 'import torch; assert torch.cuda.is_available()' 2>/dev/null || skip "no PyTorch with CUDA"
    for cell in {resnet_20,alexnet}\ {128,64,1024}\ {bf16,fp32,tf32}; do
        read -r model batch precision <<<"$cell"
        name="compare_pytorch_cuda_${model}_${batch}_$precision"
        if [ $((SECONDS - started + 40)) -gt "$GPU_CHECK_LIMIT" ]; then break; fi
        if python "$unpacked/bench/compare_pytorch.py" --device cuda --model "$model" --batch-size "$batch" --brief \
            --precision "$precision" --starts 1 --rounds 3 --steps 100 --program "$(started_by "$program")" \
            --output "$results/$name.json"; then
            count=$((count + 1))
        fi
    done
    echo "$count of 18 cells measured"
    [ "$count" -gt 0 ]
}

# The published schedule and bucket. A codec that does not end in time is stopped, and its last epoch counts.
accuracy() {
    local data codec failed=() lines=()
    need_gpu && need_program "$train"
    data="$(cifar10)"
    [ -n "$data" ] || skip "the bundle has no CIFAR-10"
    for codec in none standard smart exponential hadamard; do
        rm -rf "$results/accuracy_$codec"
        run "$train" --data "$data" --device cuda --precision bf16 --quant "$codec" --levels 16 --bucket-size 51200 \
            --batch-size 64 --lr 0.1 --epochs 200 --seed 1 --output "$results/accuracy_$codec" || failed+=("$codec")
        lines+=("$codec $(tail -1 "$results/accuracy_$codec/metrics.csv")")
    done
    printf '%s\n' "${lines[@]}"
    if [ "${#failed[@]}" -gt 0 ]; then echo "failed: ${failed[*]}" && return 1; fi
}

# --- the run ----------------------------------------------------------------------------------------------------

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
