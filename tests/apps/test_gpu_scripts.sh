#!/usr/bin/env bash
# Tries scripts/gpu_bundle.sh, and gpu_check.sh of the bundle that it makes, in a project of its own in a temporary
# folder whose programs do nothing. No GPU is needed, and what is there is not used.
#   test_gpu_scripts.sh FOLDER_OF_THE_PROJECT
set -euo pipefail

source="$1"
scratch="$(mktemp -d)"
trap 'rm -rf "$scratch"' EXIT
for tool in xz strip cmake; do
    command -v "$tool" >/dev/null || { echo "skipped: there is no $tool" && exit 77; }
done
unset OUT GPU_CHECK_UNPACKED GPU_CHECK_RESULTS GPU_CHECK_LIMIT GPU_CHECK_LOGGED

problems=0
problem() {
    echo "FAILED: $1" >&2
    problems=$((problems + 1))
}

# run NAME WANTED_STATUS WANTED_TEXT COMMAND...: runs it and compares; what it said stays in $output.
run() {
    local status=0
    output="$("${@:4}" 2>&1)" || status=$?
    [ "$status" = "$2" ] || problem "$1: status $status, wanted $2: $output"
    [[ "$output" == *"$3"* ]] || problem "$1: no '$3' in: $output"
}
lacks() { [[ "$output" != *"$2"* ]] || problem "$1: '$2' in: $output"; }
gone() { [ ! -e "$2" ] || problem "$1: there is $2"; }

project="$scratch/project" bundle="$scratch/bundle"
mkdir -p "$project"/{bench,tests/golden}
cp -r "$source/scripts" "$source/CMakePresets.json" "$project/"
touch "$project/CMakeLists.txt" "$project"/{bench,tests/golden}/module.py
make_bundle=("$project/scripts/gpu_bundle.sh" --no-build --output "$bundle")

# The bundle.
run "no build" 1 "build/cuda lacks apps/cifar_train apps/quantize apps/bench_step apps/bench_kernels \
tests/test_cuda_backend tests/test_cuda_codecs tests/test_cuda_kernels tests/test_cuda_libraries tests/test_cuda_run: " \
    "${make_bundle[@]}"
gone "no build" "$bundle"
run "without CUDA" 1 "The preset 'cpu' makes programs without CUDA" "${make_bundle[@]}" --preset cpu
run "emulated" 1 "The preset 'emulate' makes programs without CUDA" "${make_bundle[@]}" --preset emulate
run "no preset" 1 "There is no preset 'fast'" "${make_bundle[@]}" --preset fast

mkdir -p "$project"/build/cuda/{apps,tests}
for program in apps/{cifar_train,quantize,bench_step,bench_kernels} tests/test_cuda_{backend,codecs,kernels,libraries}; do
    cp "$(type -P true)" "$project/build/cuda/$program"
done
run "one missing" 1 "build/cuda lacks tests/test_cuda_run: " "${make_bundle[@]}"
cp "$(type -P true)" "$project/build/cuda/tests/test_cuda_run"
run "bundle" 0 "MiB. On the machine with the GPU" "${make_bundle[@]}"
grep -q '^commit: unknown (built earlier, 2' "$bundle/manifest.txt" ||
    problem "bundle: a commit of programs that it did not build: $(cat "$bundle/manifest.txt")"
[[ "$output" == *"The programs were built 2"* ]] || problem "bundle: does not say when programs were built: $output"

# Interrupted while it writes: the bundle from before is still whole.
mkdir "$scratch/bin"
printf '#!/bin/sh\nhead -c 1000\nkill -KILL $PPID\n' >"$scratch/bin/xz"
chmod 755 "$scratch/bin/xz"
sum="$(sha256sum <"$bundle/payload.tar.xz")"
PATH="$scratch/bin:$PATH" "${make_bundle[@]}" >/dev/null 2>&1 && problem "interrupted: status 0"
[ "$(sha256sum <"$bundle/payload.tar.xz")" = "$sum" ] || problem "interrupted: the older bundle is not what it was"
run "afterwards" 0 "MiB. On the machine with the GPU" "${make_bundle[@]}"
gone "afterwards" "$bundle.partial"

# The check of it.
before="$(cd "$project" && find . | sort)"
run "in the project" 2 "this is no bundle" "$project/scripts/gpu_check.sh" --budget 60
[ "$(cd "$project" && find . | sort)" = "$before" ] || problem "in the project: left something behind"

check=("$bundle/gpu_check.sh")
run "only and rest" 2 "exclude each other" "${check[@]}" --only faults --rest
# What a part without a GPU says; with one the empty programs fail.
has_gpu=no
if [[ "$(nvidia-smi -L 2>/dev/null)" == *GPU* ]] || [ -e /dev/nvidia0 ]; then has_gpu=yes; fi
if [ "$has_gpu" = no ]; then
    run "no GPU" 77 "nothing that was asked for could run" "${check[@]}" --only tests_backend
fi
run "little time" 77 "--budget 21 runs the first" "${check[@]}" --only faults --budget 10 --results "$scratch/little"
[[ "$output" == *"put off"* ]] || problem "little time: nothing is said to be put off: $output"

# --rest goes on with what had no turn, and behind it with what ran out of time.
rest="$scratch/rest"
run "all put off" 77 "put off" "${check[@]}" --budget 5 --results "$rest"
for part in "$rest"/parts/*.json; do sed -i 's/put off/passed/' "$part"; done
sed -i 's/passed/out of time/' "$rest/parts/tests_codecs.json"
sed -i 's/passed/put off/' "$rest/parts/faults.json"
output="$("${check[@]}" --rest --results "$rest" 2>&1)" || true
[ "$(sed -n 's/^== \([a-z_]*\): .*/\1/p' <<<"$output" | paste -sd' ')" = "faults tests_codecs" ] ||
    problem "rest: other parts than faults and tests_codecs: $output"
for part in "$rest"/parts/*.json; do sed -i 's/"outcome": "[^"]*"/"outcome": "passed"/' "$part"; done
run "no rest" 0 "nothing is left" "${check[@]}" --rest --results "$rest"

if command -v python3 >/dev/null; then
    rm "$bundle/unpacked/scripts/gpu_goals.py"
    run "no goals" 77 "gpu_goals.py no table of goals" "${check[@]}" --only faults --budget 10
    lacks "no goals" "without Python 3"
fi

truncate -s -1000 "$bundle/payload.tar.xz"
run "damaged" 1 "payload.tar.xz is damaged" "${check[@]}" --only faults --unpacked "$scratch/damaged"
rm -r "$scratch/bin" && mkdir "$scratch/bin"
for tool in bash dirname basename mkdir stat cat tar awk ls tr paste; do ln -s "$(command -v "$tool")" "$scratch/bin/"; done
run "no unpacker" 1 "takes xz or Python 3 with its lzma, and neither is here" \
    env "PATH=$scratch/bin" "${check[@]}" --only faults --unpacked "$scratch/none"

[ "$problems" = 0 ] && echo "all passed"
