# What the parts of gpu_check.sh have in common: where libraries, programs and data are, and how a program is started
# with them. To be sourced; `here`, `self`, `unpacked`, `results` and `skipped` are gpu_check.sh's.

# skip SENTENCE: ends a part that cannot run here.
skip() {
    echo "$1"
    exit "$skipped"
}

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

libraries() {
    # The folders are looked for once.
    local folders="${GPU_CHECK_CUDA_FOLDERS-$(cuda_folders)}"
    echo "$unpacked/lib:$(paste -sd: - <<<"$folders")${LD_LIBRARY_PATH:+:$LD_LIBRARY_PATH}"
}

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
need_gpu() { [[ "$(nvidia-smi -L 2>/dev/null)" == *GPU* ]] || [ -e /dev/nvidia0 ] || skip "no GPU"; }

# The folder with CIFAR-10's binary files, unpacked if it came in a pack; nothing where there is none.
cifar10() {
    local folder interpreter
    for folder in "$here/data/cifar-10-batches-bin" "$here/data" "$unpacked/data/cifar-10-batches-bin"; do
        if [ -f "$folder/data_batch_1.bin" ]; then echo "$folder" && return; fi
    done
    [ -f "$here/data/unpack_cifar10.py" ] || return
    for interpreter in python3 /usr/bin/python3; do
        "$interpreter" -c 'import numpy, PIL' 2>/dev/null || continue
        "$interpreter" "$here/data/unpack_cifar10.py" "$unpacked/data" >/dev/null 2>&1 &&
            echo "$unpacked/data/cifar-10-batches-bin"
        return
    done
}
