#!/usr/bin/env bash
# Checks the CUDA backend on this machine and measures it: part of a bundle made by scripts/gpu_bundle.sh. Needs an
# NVIDIA driver and CUDA's libraries (cuDNN 9, cuBLASLt 13), wherever they are; no network. Python 3 for the comparison
# of steps, PyTorch for that of times, compute-sanitizer for its part: what is missing is skipped, and said.
#
#   ./gpu_check.sh [--only PART[,PART..]] [--results FOLDER]
#
# Every part runs for itself, within its own time, whatever happens to the others. At the end: one table, and
# gpu_check.json in the folder of results. Ends with status 1 if a part failed.
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
    "gpu_tests 1200 the tests that need a GPU"
    "one_step 1200 one training step against the CPU, for each model, precision and codec"
    "eager_captured 300 eager steps against captured ones"
    "sanitizer 1800 compute-sanitizer on the own kernels"
    "kernel_benchmarks 480 kernels against a copy of the same bytes"
    "step_times 900 step times against PyTorch"
    "training 600 a short training run"
)

say() { echo "gpu_check.sh: $1" >&2; }
skip() {
    echo "$1"
    exit "$skipped"
}

# --- surroundings -----------------------------------------------------------------------------------------------

python() { command -v python3 >/dev/null && python3 "$@"; }

# Folders that hold CUDA's libraries, in the order in which they are to be searched.
cuda_folders() {
    {
        tr ':' '\n' <<<"${CUDA_LIBRARIES:-}"
        ls -d /usr/local/cuda/lib64 /usr/local/cuda-1[3-9]*/lib64 /usr/local/cuda*/targets/x86_64-linux/lib \
            /opt/cuda/lib64 2>/dev/null
        # Packages of pip: site-packages/nvidia/<part>/lib.
        python -c 'import site, sys; print("\n".join({*site.getsitepackages(), site.getusersitepackages(), *sys.path}))' \
            2>/dev/null | while read -r folder; do
            [ -z "$folder" ] || ls -d "$folder"/nvidia/*/lib 2>/dev/null
        done
    } | awk 'NF && !seen[$0]++' | while read -r folder; do [ -d "$folder" ] && echo "$folder"; done
}

libraries() { echo "$unpacked/lib:$(cuda_folders | paste -sd: -)${LD_LIBRARY_PATH:+:$LD_LIBRARY_PATH}"; }

# find_start PROGRAM: sets `start`, the command that runs it with the bundle's libraries; also with its C library where
# the machine's is too old.
find_start() {
    local path
    path="$(libraries)"
    if LD_LIBRARY_PATH="$path" ldd "$1" 2>&1 | grep -q "version .GLIBC"; then
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

gpu_tests() {
    local program failed=() count=0 name
    need_gpu
    for program in "$unpacked"/tests/test_cuda_*; do
        [ -x "$program" ] || continue
        name="$(basename "$program")"
        count=$((count + 1))
        run "$program" --gtest_brief=1 --gtest_output="json:$results/$name.json" || failed+=("$name")
    done
    [ "$count" -gt 0 ] || skip "the bundle has no GPU tests"
    if [ "${#failed[@]}" -gt 0 ]; then echo "failed: ${failed[*]}" && return 1; fi
    echo "$count programs passed, $(cat "$results"/test_cuda_*.json | grep -c '"result": "SKIPPED"') cases skipped"
}

one_step() {
    local model precision codec device option bad=() count=0 pair="$unpacked/steps"
    need_gpu && need_program "$train" && need_python
    mkdir -p "$pair"
    for model in resnet_20 alexnet simple; do
        for precision in fp32 tf32 bf16; do
            for codec in none standard exponential hadamard smart; do
                for device in cpu cuda; do
                    # The CPU computes tf32's reference in fp32.
                    option="$precision"
                    if [ "$device $precision" = "cpu tf32" ]; then option=fp32; fi
                    run "$train" --data synthetic --model "$model" --precision "$option" --quant "$codec" \
                        --device "$device" --batch-size 32 --max-steps 1 --seed 1 \
                        --dump-step "$pair/$device.safetensors" >"$pair/$device.log" 2>&1 ||
                        { tail -3 "$pair/$device.log" && rm -f "$pair/$device.safetensors"; }
                done
                count=$((count + 1))
                echo "$model, $precision, $codec"
                python "$unpacked/scripts/gpu_compare_steps.py" --precision "$precision" \
                    "$pair/cpu.safetensors" "$pair/cuda.safetensors" || bad+=("$model/$precision/$codec")
            done
        done
    done
    if [ "${#bad[@]}" -gt 0 ]; then echo "${#bad[@]} of $count differ: ${bad[*]}" && return 1; fi
    echo "$count steps agree with the CPU"
}

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

sanitizer() {
    local tool program sanitizer bad=()
    need_gpu
    sanitizer="$(command -v compute-sanitizer || ls /usr/local/cuda*/bin/compute-sanitizer 2>/dev/null | tail -1)"
    [ -n "$sanitizer" ] || skip "no compute-sanitizer"
    for program in test_cuda_kernels test_cuda_codecs; do
        [ -x "$unpacked/tests/$program" ] || continue
        for tool in memcheck racecheck; do
            echo "== $tool $program"
            run "$sanitizer" --tool "$tool" --error-exitcode 1 "$unpacked/tests/$program" --gtest_brief=1 ||
                bad+=("$tool $program")
        done
    done
    if [ "${#bad[@]}" -gt 0 ]; then echo "found something: ${bad[*]}" && return 1; fi
    echo "memcheck and racecheck found nothing"
}

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
    local precision
    need_gpu && need_program "$unpacked/apps/bench_step"
    python -c 'import torch; assert torch.cuda.is_available()' 2>/dev/null || skip "no PyTorch with CUDA"
    for precision in bf16 fp32; do
        python "$unpacked/bench/compare_pytorch.py" --device cuda --precision "$precision" --starts 1 --rounds 7 \
            --program "$(started_by "$unpacked/apps/bench_step")" \
            --output "$results/compare_pytorch_cuda_$precision.json" || return 1
    done
}

training() {
    local data
    need_gpu && need_program "$train"
    data="$(cifar10)"
    rm -rf "$results/run"
    run "$train" --data "${data:-synthetic}" --device cuda --precision bf16 --quant standard --batch-size 128 \
        --epochs 3 --seed 1 --output "$results/run" || return 1
    echo "3 epochs on ${data:-the synthetic set}: $(tail -1 "$results/run/metrics.csv")"
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

only=""
while [ $# -gt 0 ]; do
    case "$1" in
        --only | --results)
            [ $# -ge 2 ] || { say "$1 needs a value." && exit 2; }
            declare "${1#--}=$2"
            shift 2
            ;;
        --help) sed -n '2,/^set/s/^# \{0,1\}//p' "$self" && exit ;;
        *) say "there is no option '$1'; --help lists them." && exit 2 ;;
    esac
done
for name in ${only//,/ }; do
    printf '%s\n' "${parts[@]}" | grep -q "^$name " || { say "there is no part '$name'." && exit 2; }
done

mkdir -p "$results" "$unpacked" || exit 1
results="$(cd "$results" && pwd)"
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

rows=() objects=() status=0
for entry in "${parts[@]}"; do
    read -r name limit what <<<"$entry"
    if [ -n "$only" ] && [[ ",$only," != *",$name,"* ]]; then continue; fi
    echo "== $name: $what (at most $limit s)"
    started=$SECONDS
    timeout --kill-after=10 "$limit" bash "$self" --part "$name" 2>&1 | tee "$results/$name.log"
    code=${PIPESTATUS[0]} seconds=$((SECONDS - started))
    case "$code" in
        0) outcome=passed ;;
        "$skipped") outcome=skipped ;;
        124 | 137) outcome="out of time" status=1 ;;
        *) outcome=failed status=1 ;;
    esac
    note="$(grep -v '^[[:space:]]*$' "$results/$name.log" | tail -1 | cut -c1-200)"
    rows+=("$(printf '%-18s %-12s %6d s  %s' "$name" "$outcome" "$seconds" "$note")")
    objects+=("$(printf '{"part": "%s", "outcome": "%s", "seconds": %d, "note": "%s"}' "$name" "$outcome" \
        "$seconds" "$(json_text "$note")")")
done

{
    printf '{\n "bundle": "%s",\n "host": "%s",\n "parts": [\n  ' \
        "$(json_text "$(paste -sd';' "$here/manifest.txt" 2>/dev/null)")" "$(json_text "$(uname -srm)")"
    joined="$(printf '%s,\n  ' "${objects[@]}")"
    printf '%s\n ]\n}\n' "${joined%,*}"
} >"$results/gpu_check.json"

echo
printf '%s\n' "${rows[@]}"
echo "written: $results/gpu_check.json"
exit "$status"
