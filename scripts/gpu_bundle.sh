#!/usr/bin/env bash
# Makes one folder that checks the CUDA backend on a machine that has an NVIDIA driver, CUDA's libraries (cuDNN 9 and
# cuBLASLt 13, be it inside Python packages) and nothing else: no network, no compiler, no project. Copy it there and
# start gpu_check.sh in it.
#
#   scripts/gpu_bundle.sh [--output FOLDER] [--preset NAME] [--data FOLDER] [--no-build]
#
# --output   the folder to make, build/gpu_bundle by default; it must not exist or be an older bundle, which stays until
#            the new one is whole
# --preset   which build the programs come from, cuda by default; one with CUDA
# --data     CIFAR-10 in any form: its binary files, or what makes them (unpack_cifar10.py with its pack)
# --no-build takes the programs as they are, built at whatever commit
#
# docs/gpu.md says how to use it.
set -euo pipefail
source "$(dirname "${BASH_SOURCE[0]}")/common.sh"

output="$root/build/gpu_bundle" preset=cuda data="" build=yes
while [ $# -gt 0 ]; do
    case "$1" in
        --output | --preset | --data)
            [ $# -ge 2 ] || fail "$1 needs a value."
            declare "${1#--}=$2"
            shift 2
            ;;
        --no-build) build=no && shift ;;
        --help) sed -n '2,/^set/s/^# \{0,1\}//p' "${BASH_SOURCE[0]}" && exit ;;
        *) fail "There is no option '$1'; --help lists them." ;;
    esac
done

mebibyte=$((1024 * 1024))
limit=$((40 * mebibyte)) limit_with_data=$((60 * mebibyte))
bin="$root/build/$preset" output="${output%/}" partial="${output%/}.partial"
# What gpu_check.sh starts, and what these start.
programs=(apps/{cifar_train,quantize,bench_step,bench_kernels}
    tests/test_cuda_{backend,codecs,kernels,libraries,run})

if [ -e "$output" ] && [ ! -e "$output/gpu_check.sh" ]; then
    fail "$output exists and is no bundle; name another folder or remove it."
fi
[ -z "$data" ] || [ -d "$data" ] || fail "There is no folder $data."
command -v xz >/dev/null || fail "There is no xz: apt-get install xz-utils"
settings="$(cd "$root" && cmake -N --preset "$preset" 2>&1)" || true
case "$settings" in
    *'QSTEP_CUDA="ON"'*) ;;
    *"No such preset"*) fail "There is no preset '$preset': take cuda, or cuda-ci." ;;
    *) fail "The preset '$preset' makes programs without CUDA: take cuda, or cuda-ci." ;;
esac
if [ "$build" = yes ]; then build_preset "$preset"; fi

missing=()
for program in "${programs[@]}"; do
    [ -f "$bin/$program" ] && [ -x "$bin/$program" ] || missing+=("$program")
done
[ "${#missing[@]}" -eq 0 ] ||
    fail "$bin lacks ${missing[*]}: build the preset '$preset' first, or leave out --no-build."

payload="$(mktemp -d)"
trap 'rm -rf "$payload" "$partial"' EXIT
mkdir -p "$payload"/{apps,tests/golden,lib/system,scripts,bench}
for program in "${programs[@]}"; do
    install -m 755 "$bin/$program" "$payload/$program"
    strip --strip-unneeded "$payload/$program"
done

# What the programs load, but for CUDA's own and the kernel's. The C library and its loader lie apart: they are used
# only where the machine's own are older.
is_cuda() { [[ "$1" =~ ^lib(cudnn|cublas|cudart|cuda\.|nvrtc|nvidia|curand|nvJitLink) ]]; }
is_system() { [[ "$1" =~ ^(ld-linux-x86-64|lib(c|m|dl|rt|pthread|resolv|util))\.so ]]; }
while read -r library; do
    name="$(basename "$library")"
    if is_cuda "$name"; then continue; fi
    folder=lib
    if is_system "$name"; then folder=lib/system; fi
    cp -L "$library" "$payload/$folder/$name"
done < <(find "$payload/apps" "$payload/tests" -type f -exec ldd {} + |
    sed -nE 's/.*=> (\/[^ ]+) .*/\1/p; s/^[[:space:]]*(\/[^ ]*ld-linux[^ ]*) .*/\1/p' | sort -u)
# cuDNN opens its parts when it starts, and they want this one.
zlib="$(PATH="$PATH:/sbin:/usr/sbin" ldconfig -p | awk '/libz\.so\.1 .*x86-64/ { found = $NF } END { print found }')"
[ -z "$zlib" ] || cp -L "$zlib" "$payload/lib/libz.so.1"

cp "$root"/scripts/gpu_{compare_steps,goals}.py "$payload/scripts/"
cp "$root"/bench/*.py "$payload/bench/"
# The peers take PyTorch's side of a model from here.
cp "$root"/tests/golden/*.py "$payload/tests/golden/"

commit="$(git -C "$root" rev-parse --short HEAD 2>/dev/null || echo unknown)$(
    [ -z "$(git -C "$root" status --porcelain --untracked-files=no 2>/dev/null)" ] || echo -dirty)"
# Programs do not know their commit.
times="$(cd "$bin" && find "${programs[@]}" -printf '%TF %TH:%TM\n' | sort | sed -n '1p;$p' | uniq | paste -sd/ | sed 's|/| to |')"
{
    if [ "$build" = yes ]; then echo "commit: $commit"; else echo "commit: unknown (built earlier, $times)"; fi
    echo "scripts: $commit"
    echo "preset: $preset"
    echo "glibc: $(getconf GNU_LIBC_VERSION)"
    echo "programs: ${programs[*]##*/}"
} >"$payload/manifest.txt"

# Aside, so that what bears the bundle's name is whole.
rm -rf "$partial"
mkdir -p "$partial"
install -m 755 "$root/scripts/gpu_check.sh" "$partial/gpu_check.sh"
cp -r "$root/scripts/gpu_check" "$partial/gpu_check"
cp "$payload/manifest.txt" "$partial/"
# The programs hold the same kernels; a window as large as all of them stores these once.
tar -C "$payload" --sort=name --owner=0 --group=0 -cf - . | xz --lzma2=preset=3,dict=256MiB >"$partial/payload.tar.xz"

bytes_of() { du --apparent-size --bytes --summarize "$1" | cut -f1; }
check_size() {
    [ "$(bytes_of "$partial")" -le "$1" ] ||
        fail "The bundle takes $(($(bytes_of "$partial") / mebibyte)) MiB, more than $(($1 / mebibyte))."
}
check_size "$limit"
if [ -n "$data" ]; then
    mkdir "$partial/data"
    if [ -f "$data/unpack_cifar10.py" ]; then
        cp "$data"/unpack_cifar10.py "$data"/*.pack "$partial/data/"
    else
        cp -r "$data"/. "$partial/data/"
    fi
    chmod -R u+w "$partial/data"
    check_size "$limit_with_data"
fi
if [ "$build" = no ]; then
    echo "The programs were built $times; where that was not one commit, they differ in their kernels, and take more room."
fi
rm -rf "$output"
mv "$partial" "$output"
echo "$output: $(($(bytes_of "$output") / mebibyte)) MiB. On the machine with the GPU: ./gpu_check.sh"
