# The parts of gpu_check.sh that say whether something is right. To be sourced. The last line that a part prints goes into
# the table.

codecs=(standard smart hadamard exponential qsgd terngrad sign natural dorefa fixed)

device_report() {
    local missing program
    command -v nvidia-smi >/dev/null || { echo "no nvidia-smi: is there a driver?" && return 1; }
    nvidia-smi || return 1
    echo "C library: $(ldd --version | head -1)"
    echo "folders of CUDA's libraries: $(cuda_folders | paste -sd' ' -)"
    for program in "$unpacked"/apps/* "$unpacked"/tests/test_cuda_*; do
        [ -x "$program" ] || continue
        missing="$(LD_LIBRARY_PATH="$(libraries)" ldd "$program" 2>&1 | awk '/not found/ && !/GLIBC/ { print $1 }' | sort -u |
            paste -sd' ')"
        if [ -n "$missing" ]; then
            echo "$(basename "$program") misses $missing: it wants CUDA 13's cuBLASLt and cuDNN 9, and those of CUDA 12" \
                "do not do; CUDA_LIBRARIES says where they are"
            return 1
        fi
    done
    nvidia-smi --query-gpu=name,compute_cap,driver_version,memory.total --format=csv,noheader | head -1
}

# left: seconds until the end of the part.
left() { echo $((GPU_CHECK_LIMIT - SECONDS)); }

# first_run PRECISION
first_run() {
    local started=$SECONDS
    rm -rf "$unpacked/first"
    timeout --foreground --kill-after=5 45 bash "$self" --run "$train" --data synthetic --device cuda --precision "$1" \
        --quant standard --batch-size 128 --max-steps 20 --seed 1 --output "$unpacked/first" || return 1
    echo "20 steps and a test in $1: $((SECONDS - started)) s with the start"
}

# What is new for a GPU can be left out by the environment (docs/architecture.md). Where training does not run with all of
# it, it is tried with less, and the parts from here on take what runs.
first_steps() {
    local without less=("" QSTEP_PROGRAMMATIC_LAUNCH=0 "QSTEP_OWN_CONVOLUTIONS=0" \
        "QSTEP_PROGRAMMATIC_LAUNCH=0 QSTEP_OWN_CONVOLUTIONS=0")
    need_gpu && need_program "$train"
    rm -f "$results/environment.txt"
    for without in "${less[@]}"; do
        # In a shell of its own, so that one try's environment is not the next one's.
        if (
            if [ -n "$without" ]; then echo "again with $without" && export ${without?}; fi
            first_run bf16 && first_run fp32
        ); then break; fi
        without=none
    done
    if [ "$without" = none ]; then echo "it does not run" && return 1; fi
    if [ -n "$without" ]; then
        tr ' ' '\n' <<<"$without" >"$results/environment.txt"
        echo "it runs only with $without, and so do the parts from here on"
        return 1
    fi
}

# in_pieces PROGRAM PIECES [STARTER...]: runs the tests in pieces of about equally many cases, as many as there is time for,
# and leaves a report of each. Sets cases, skips and pieces to how many ran, skipped themselves and ended.
in_pieces() {
    local program="$unpacked/tests/$1" report piece before="${5:+$5_}"
    cases=0 skips=0 pieces=0
    rm -f "$results/$before$1".*.json
    for ((piece = 0; piece < $2; ++piece)); do
        if [ "$(left)" -lt 15 ]; then break; fi
        report="$results/$before$1.$piece.json"
        GTEST_TOTAL_SHARDS=$2 GTEST_SHARD_INDEX=$piece timeout --foreground --kill-after=5 "$(($(left) - 10))" \
            bash "$self" --run "${@:3}" "$program" --gtest_brief=1 --gtest_output="json:$report"
        case $? in
            0) ;;
            124 | 137) echo "a piece of $1 takes too long" && break ;;
            *) echo "failed in piece $piece of $1: $(failures "$report" | paste -sd' ' -)" && return 1 ;;
        esac
        pieces=$((pieces + 1))
        cases=$((cases + $(grep -c '"result": "COMPLETED"' "$report")))
        skips=$((skips + $(grep -c '"result": "SKIPPED"' "$report")))
    done
    return 0 # and not what grep says of a piece without skips
}

# failures FILE: the names of the cases that failed, from a report by GoogleTest.
failures() {
    awk -F'"' '/"name": /{name = $4} /"failures": \[/{print name}' "$1" 2>/dev/null
}

# tests PROGRAM PIECES: tests that need a GPU; they skip themselves where they find none.
tests() {
    local cases skips pieces
    need_gpu && need_program "$unpacked/tests/$1"
    in_pieces "$1" "$2" || return 1
    if [ "$pieces" -eq 0 ]; then echo "not one of $2 pieces ended in time" && return 124; fi
    # A few cases need no GPU, and a few need two or an emulated one.
    if [ "$cases" -le "$skips" ]; then echo "$cases cases ran, $skips were skipped: the tests see no GPU" && return 1; fi
    echo "$cases cases passed, $skips were skipped, $pieces of $2 pieces"
}
tests_backend() { tests test_cuda_backend 1; }
tests_codecs() { tests test_cuda_codecs 4; }
tests_run() { tests test_cuda_run 8; }
tests_kernels() { tests test_cuda_kernels 2; }
tests_libraries() { tests test_cuda_libraries 8; }

# dump DEVICE PRECISION CODEC FILE [OPTION]: the last of the first $steps steps of $model.
dump() {
    run "$train" --data synthetic --model "$model" --precision "$2" --quant "$3" --device "$1" --batch-size 32 \
        --max-steps "$steps" --seed 1 --dump-step "$4" "${@:5}" >"$4.log" 2>&1 || { tail -3 "$4.log" && return 1; }
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
# a rounding turns over, so there the codec alone is; its convolutions need no choice by timing. What is worth most comes
# first, and what does not fit into the time is left out, and said.
one_step() {
    local model="$1" steps="$2" precision codec against bad=() count=0 all folder="$unpacked/steps_$1"
    need_gpu && need_program "$train" && need_program "$unpacked/apps/quantize" && need_python
    mkdir -p "$folder"
    all=$((3 + 3 * ${#codecs[@]}))
    for precision in fp32 bf16; do
        dump cpu "$precision" none "$folder/cpu_$precision" || { echo "the CPU's step failed" && return 1; }
    done
    for precision in fp32 tf32 bf16; do
        echo "$model, $precision"
        count=$((count + 1))
        against=("$folder/cuda" "$folder/cpu_fp32")
        if [ "$precision" != fp32 ]; then against=(--precision "$precision" "${against[@]}" "$folder/cpu_bf16"); fi
        dump cuda "$precision" none "$folder/cuda" &&
            python "$unpacked/scripts/gpu_compare_steps.py" "${against[@]}" || bad+=("$precision")
    done
    for precision in bf16 fp32 tf32; do
        for codec in "${codecs[@]}"; do
            if [ "$(left)" -lt 25 ]; then break 2; fi
            echo "$model, $precision, $codec"
            count=$((count + 1))
            dump cuda "$precision" "$codec" "$folder/cuda" --deterministic && same_codes || bad+=("$precision/$codec")
        done
    done
    rm -rf "$folder"
    if [ "${#bad[@]}" -gt 0 ]; then echo "${#bad[@]} of $count differ: ${bad[*]}" && return 1; fi
    echo "$count of $all steps compared: they agree with the CPU, and codecs to the bit"
}
# The first step of a ResNet has no gradient inside its blocks, whose last batch norms start at zero.
one_step_resnet_20() { one_step resnet_20 3; }
one_step_alexnet() { one_step alexnet 1; }
one_step_simple() { one_step simple 1; }

# Twice captured and once eager: all the same, to the bit.
eager_captured() {
    local mode precision runs="$unpacked/runs" options
    need_gpu && need_program "$train" && need_python
    for precision in bf16 fp32 tf32; do
        rm -rf "$runs"
        for mode in captured again eager; do
            options=(--deterministic)
            if [ "$mode" = eager ]; then options+=(--no-graph); fi
            run "$train" --data synthetic --device cuda --precision "$precision" --quant standard --max-steps 20 \
                --seed 1 --output "$runs/$mode" "${options[@]}" >"$runs.log" 2>&1 || { tail -3 "$runs.log" && return 1; }
        done
        for mode in again eager; do
            python "$unpacked/scripts/gpu_compare_steps.py" --exact "$runs/captured/checkpoint.safetensors" \
                "$runs/$mode/checkpoint.safetensors" || { echo "$precision: captured and $mode differ" && return 1; }
        done
        echo "$precision: 20 steps, captured twice and eager, bitwise the same"
    done
    echo "20 steps, captured twice and eager, bitwise the same in bf16, fp32 and tf32"
}

# The same run on both, and on the CPU alone: what a checkpoint holds must not depend on where it was written. Rounding
# differs between the devices, so after 6 steps the weights are near each other, and no more.
checkpoints() {
    local runs="$unpacked/moves" options=(--deterministic --seed 1) device
    need_gpu && need_program "$train" && need_python
    rm -rf "$runs"
    options+=(--data synthetic --model simple --batch-size 64 --lr 0.01 --epochs 1)
    run "$train" "${options[@]}" --device cpu --max-steps 6 --output "$runs/cpu" || return 1
    run "$train" "${options[@]}" --device cpu --max-steps 2 --output "$runs/moved" || return 1
    for device in cuda cpu; do
        run "$train" --resume "$runs/moved/checkpoint.safetensors" --device "$device" --deterministic \
            --max-steps "$([ "$device" = cuda ] && echo 4 || echo 6)" || return 1
    done
    python "$unpacked/scripts/gpu_compare_steps.py" --near "$runs/moved/checkpoint.safetensors" \
        "$runs/cpu/checkpoint.safetensors" || { echo "a run that moved ended elsewhere" && return 1; }
    echo "2 steps on the CPU, 2 on the GPU and 2 on the CPU again end where 6 on the CPU do"
}

# refused SENTENCE OPTION...: the run ends with status 1 and these words.
refused() {
    local log="$unpacked/refused.log" code
    run "$train" --data synthetic --max-steps 1 --output "$unpacked/none" "${@:2}" >"$log" 2>&1
    code=$?
    tail -1 "$log"
    if [ "$code" -ne 1 ] || ! tail -1 "$log" | grep -q "$1"; then
        echo "ended with status $code and did not say '$1'"
        return 1
    fi
}

# So many images at once in a network this deep fit into no GPU; and the next run must not suffer from it.
faults() {
    need_gpu && need_program "$train"
    refused "there is no cuda:99" --device cuda:99 || return 1
    refused "no room for .* MiB are free; a smaller --batch-size" --device cuda --deterministic --model resnet_110 \
        --batch-size 40000 --precision fp32 || return 1
    run "$train" --data synthetic --device cuda --model simple --max-steps 3 --output "$unpacked/after" >/dev/null ||
        { echo "the next run failed" && return 1; }
    echo "no such GPU and too little memory end with a sentence, and the next run works"
}

sanitizer() {
    command -v compute-sanitizer || ls /usr/local/cuda*/bin/compute-sanitizer 2>/dev/null | tail -1 | grep . ||
        site_folders | while read -r folder; do ls "$folder"/nvidia/*/bin/compute-sanitizer 2>/dev/null; done | head -1
}

# sanitize TOOL PROGRAM: the tests are of small sizes throughout.
sanitize() {
    local checker cases skips pieces
    need_gpu && need_program "$unpacked/tests/$2"
    checker="$(sanitizer)"
    [ -n "$checker" ] || skip "no compute-sanitizer"
    in_pieces "$2" 16 "$checker" --tool "$1" --error-exitcode 1 || return 1
    if [ "$pieces" -eq 0 ]; then echo "not one of 16 pieces ended in time" && return 124; fi
    echo "$1 found nothing in $cases cases, $pieces of 16 pieces"
}
memcheck_kernels() { sanitize memcheck test_cuda_kernels; }
memcheck_codecs() { sanitize memcheck test_cuda_codecs; }
racecheck_kernels() { sanitize racecheck test_cuda_kernels; }
racecheck_codecs() { sanitize racecheck test_cuda_codecs; }
