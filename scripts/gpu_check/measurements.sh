# The parts of gpu_check.sh that measure. To be sourced behind checks.sh. The last line that a part prints goes into the
# table.

# benchmarks NAME REGEX: stopped some seconds before the part is, and what was measured until then is kept.
benchmarks() {
    local program="$unpacked/apps/bench_kernels" output="$results/$1.json"
    need_gpu && need_program "$program"
    if python -c 0 2>/dev/null; then
        python "$unpacked/bench/kernels.py" --device cuda --limit $((GPU_CHECK_LIMIT - 15)) --filter "$2" \
            --output "$output" --program "$(started_by "$program")"
    else
        run "$program" --device cuda --benchmark_min_time=0.03 --benchmark_filter="$2" --benchmark_out="$output" \
            --benchmark_out_format=json
    fi
}
kernel_benchmarks() { benchmarks kernels_cuda .; }

# compare OUTPUT OPTION...: beside PyTorch, whatever forms of it the options name.
compare() {
    need_gpu && need_program "$unpacked/apps/bench_step"
    python -c 'import torch; assert torch.cuda.is_available()' 2>/dev/null || skip "no PyTorch with CUDA"
    python "$unpacked/bench/compare_pytorch.py" --device cuda --starts 1 --rounds 7 "${@:2}" \
        --program "$(started_by "$unpacked/apps/bench_step")" --output "$results/compare_pytorch_cuda_$1.json"
}
step_times() { compare eager --precision bf16 --types bf16 --forms eager,graph; }
step_times_compiled() { compare compiled --precision bf16 --types bf16 --forms compiled; }
step_times_bf16() { compare bf16 --precision bf16; }
step_times_fp32() { compare fp32 --precision fp32; }

# What of a whole step is the codec's, and the codec with the update by itself.
codec_rates() {
    benchmarks codec_rates \
        'codec/(standard|exponential|hadamard|smart)/bucket:512/quantize/67108864/|(codec/.*/update|sgd_update/f32)/272474/'
}
codec_overhead() {
    need_gpu && need_program "$unpacked/apps/bench_step" && need_python
    python "$unpacked/bench/codec_overhead.py" --device cuda --precision bf16 --limit $((GPU_CHECK_LIMIT - 20)) \
        --program "$(started_by "$unpacked/apps/bench_step")" --output "$results/codec_overhead_cuda_bf16.json"
}

# train_epochs NAME OPTION...: a run of ResNet-20 with a codec into the results; with its seconds, start and end included.
train_epochs() {
    local folder="$results/$1" data started
    data="$(cifar10)"
    rm -rf "$folder"
    started="$(date +%s%N)"
    run "$train" --data "${data:-synthetic}" --device cuda --precision bf16 --quant standard --seed 1 --output "$folder" \
        "${@:2}" || return 1
    awk -v ns="$(($(date +%s%N) - started))" 'BEGIN { printf "%.3f\n", ns / 1e9 }' >"$folder/seconds.txt"
}

epoch_times() {
    local batch
    need_gpu && need_program "$train"
    for batch in 64 128; do
        train_epochs "epochs_$batch" --batch-size "$batch" --epochs 12 || return 1
        echo "batch $batch: 12 epochs in $(cat "$results/epochs_$batch/seconds.txt") s with start and end, the last:" \
            "$(tail -1 "$results/epochs_$batch/metrics.csv")"
    done
}

run_200() {
    need_gpu && need_program "$train"
    train_epochs run_200 --batch-size 128 --epochs 200 || return 1
    echo "200 epochs in $(cat "$results/run_200/seconds.txt") s, the last: $(tail -1 "$results/run_200/metrics.csv")"
}

# step_ms PRECISION CODEC: of a step, the best of five times 200.
step_ms() {
    printf '200\n%.0s' {1..5} | run "$unpacked/apps/bench_step" --device cuda --precision "$1" --batch-size 128 \
        --quant "$2" | tail -n +2 | cut -d' ' -f1 | sort -g | head -1
}

# Whether kernels start before the one before has ended is in the environment (docs/architecture.md): only the time may
# depend on it.
early_start() {
    local runs="$unpacked/runs" table="$results/early_start.txt" precision codec early
    need_gpu && need_program "$unpacked/apps/bench_step" && need_program "$train" && need_python
    for precision in bf16 fp32; do
        rm -rf "$runs"
        for early in 0 1; do
            QSTEP_PROGRAMMATIC_LAUNCH=$early run "$train" --data synthetic --device cuda --precision "$precision" \
                --quant standard --max-steps 200 --seed 1 --deterministic --output "$runs/$early" || return 1
        done
        python "$unpacked/scripts/gpu_compare_steps.py" --exact "$runs"/{0,1}/checkpoint.safetensors ||
            { echo "$precision: other bits where kernels start early" && return 1; }
    done
    while read -r precision codec; do
        echo "$precision, $codec: ms of a step, in turn without and with an early start:" \
            "$(for early in 0 1 0 1; do QSTEP_PROGRAMMATIC_LAUNCH=$early step_ms "$precision" "$codec"; done | paste -sd' ')"
    done <<<$'fp32 standard\nbf16 smart\nbf16 standard' | tee "$table"
    if [ "$(awk 'NF == 18' "$table" | wc -l)" -lt 3 ]; then echo "the same bits, but steps could not be timed" && return 1; fi
    echo "the same bits; $(tail -1 "$table")"
}

# The own convolutions (docs/architecture.md) against the library's with the passes beside them.
own_convolutions() {
    local table="$results/own_convolutions.txt" own
    need_gpu && need_program "$unpacked/apps/bench_step"
    echo "bf16: ms of a step, in turn with the library's convolutions, the own, the faster ones:" \
        "$(for own in 0 1 timed 0 1 timed; do QSTEP_OWN_CONVOLUTIONS=$own step_ms bf16 none; done | paste -sd' ')" | tee "$table"
    [ "$(awk '{ print NF }' "$table")" -eq 22 ]
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
        echo 3 | timeout --foreground 60 ncu "${options[@]}" "${start[@]}" --model resnet_20 --precision bf16 --quant standard \
            --device cuda --no-graph >"$counters" 2>&1 || echo "ncu measured nothing: see $counters"
    fi
    tail -1 "$results/profile_bf16.txt"
}

# Models, batches and precisions beside PyTorch until the time is used up: those that matter most come first, and each is
# written for itself.
step_table() {
    local model batch precision cell count=0
    for cell in {resnet_20,alexnet}\ {128,64,1024}\ {bf16,fp32,tf32}; do
        read -r model batch precision <<<"$cell"
        if [ "$(left)" -lt 40 ]; then break; fi
        # In a shell of its own, since a part may end by skipping.
        if (compare "${model}_${batch}_$precision" --model "$model" --batch-size "$batch" --precision "$precision" \
            --types "$precision" --forms eager,graph --codecs standard --rounds 3 --steps 100); then
            count=$((count + 1))
        elif [ $? -eq "$skipped" ]; then
            skip "no PyTorch with CUDA, or no bench_step"
        fi
    done
    echo "$count of 18 cells measured"
    [ "$count" -gt 0 ]
}

# The published schedule and bucket. What is not done in time is missing, and the run that was stopped has its checkpoint.
accuracy() {
    local data codec failed=()
    need_gpu && need_program "$train"
    data="$(cifar10)"
    [ -n "$data" ] || skip "no CIFAR-10: the bundle has none, or no Python here has numpy and PIL to unpack it"
    for codec in none standard smart exponential hadamard; do
        rm -rf "$results/accuracy_$codec"
        run "$train" --data "$data" --device cuda --precision bf16 --quant "$codec" --levels 16 --bucket-size 51200 \
            --batch-size 64 --lr 0.1 --epochs 200 --seed 1 --output "$results/accuracy_$codec" || failed+=("$codec")
        echo "$codec $(tail -1 "$results/accuracy_$codec/metrics.csv")"
    done
    if [ "${#failed[@]}" -gt 0 ]; then echo "failed: ${failed[*]}" && return 1; fi
}
