#!/usr/bin/env bash
# Downloads CIFAR-10 (binary version, 162 MiB), verifies it and unpacks it to data/cifar-10-batches-bin, where
# `--data auto` finds it. Does nothing when it is there already. Ends with status 1 and one sentence when
# something fails; data/cifar-10-batches-bin then is as it was before.
#
#   scripts/get_cifar10.sh
#
# Environment, for mirrors: CIFAR10_URL, where to download the archive from; CIFAR10_SHA256 and CIFAR10_MD5, its
# checksums, an empty one is not checked.
set -euo pipefail

url="${CIFAR10_URL-https://www.cs.toronto.edu/~kriz/cifar-10-binary.tar.gz}"
sha256="${CIFAR10_SHA256-c4a38c50a1bc5f3a1c5537f2155ab9d68f9f25eb1ed8d9ddda3db29a59bca1dd}"
md5="${CIFAR10_MD5-c32a1d4ab5d03f1284b67883e8d87530}"

folder_name=cifar-10-batches-bin
files=(data_batch_1.bin data_batch_2.bin data_batch_3.bin data_batch_4.bin data_batch_5.bin test_batch.bin)
data="$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)/data"
target="$data/$folder_name"
scratch=

fail() {
    echo "get_cifar10.sh: $1" >&2
    exit 1
}

clean_up() {
    if [ -n "$scratch" ]; then rm -rf "$scratch"; fi
}
trap clean_up EXIT
trap 'exit 130' INT
trap 'exit 143' TERM

# holds_all FOLDER: whether all six files are there and not empty.
holds_all() {
    local file
    for file in "${files[@]}"; do
        [ -s "$1/$file" ] || return 1
    done
}

# download URL FILE
download() {
    if command -v curl >/dev/null; then
        curl --fail --location --silent --show-error --retry 2 --output "$2" "$1"
    elif command -v wget >/dev/null; then
        wget --no-verbose --output-document "$2" "$1"
    else
        fail "Neither curl nor wget is installed: install one of them (apt-get install curl) and run this again."
    fi || fail "Downloading $url failed: check the network, or set CIFAR10_URL to a mirror."
}

# verify PROGRAM CHECKSUM FILE
verify() {
    local found
    if [ -z "$2" ]; then return; fi
    found="$("$1" <"$3" | cut -d' ' -f1)" || fail "$1 failed on the downloaded archive."
    if [ "$found" != "$2" ]; then
        fail "The archive from $url has the wrong checksum ($1 $found, expected $2): nothing was unpacked."
    fi
}

if holds_all "$target"; then
    echo "CIFAR-10 is already in $target."
    exit 0
fi
if [ -e "$target" ] || [ -L "$target" ]; then
    fail "$target exists but is not complete: move it away and run this again."
fi
mkdir -p "$data" || fail "The folder $data cannot be made."

# Inside data/, so that the last step is a rename within one file system.
scratch="$(mktemp -d "$data/.get_cifar10.XXXXXX")" || fail "The folder $data cannot be written."
echo "Downloading $url"
download "$url" "$scratch/archive.tar.gz"
verify sha256sum "$sha256" "$scratch/archive.tar.gz"
verify md5sum "$md5" "$scratch/archive.tar.gz"
tar -xzf "$scratch/archive.tar.gz" -C "$scratch" --no-same-owner ||
    fail "Unpacking the archive failed: is the disk full?"
holds_all "$scratch/$folder_name" || fail "The archive from $url does not hold the six files of $folder_name."
mv -T "$scratch/$folder_name" "$target" || fail "The unpacked files could not be moved to $target."
echo "CIFAR-10 is in $target."
