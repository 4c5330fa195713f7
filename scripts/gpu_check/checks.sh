# The parts of gpu_check.sh that say whether something is right. To be sourced. The last line that a part prints goes into
# the table.

codecs=(standard smart hadamard exponential qsgd terngrad sign natural dorefa fixed)
program_limit=240 # seconds at most of one test program

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
    local program failed=() count=0 cases=0 skips=0 name report
    need_gpu
    for program in "$unpacked"/tests/test_cuda_*; do
        [ -x "$program" ] || continue
        name="$(basename "$program")"
        report="$results/$name.json"
        rm -f "$report"
        count=$((count + 1))
        # In the part's own group, so that the part's end is the program's too.
        timeout --foreground --kill-after=10 "$program_limit" bash "$self" --run "$program" --gtest_brief=1 \
            --gtest_output="json:$report" || failed+=("$name")
        if [ -f "$report" ]; then
            cases=$((cases + $(ran "$report"))) skips=$((skips + $(grep -c '"SKIPPED"' "$report")))
        fi
    done
    [ "$count" -gt 0 ] || skip "the bundle has no GPU tests"
    if [ "${#failed[@]}" -gt 0 ]; then echo "failed: ${failed[*]}" && return 1; fi
    # A few cases need no GPU, and a few need two or an emulated one.
    if [ "$cases" -le "$skips" ]; then echo "$skips cases were skipped, $cases ran: the tests see no GPU" && return 1; fi
    echo "$count programs passed, $cases cases ran, $skips skipped"
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
