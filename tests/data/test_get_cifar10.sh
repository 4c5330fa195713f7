#!/usr/bin/env bash
# Tries scripts/get_cifar10.sh, in a project of its own in a temporary folder, with archives from file:// URLs.
#   test_get_cifar10.sh PATH_OF_get_cifar10.sh
set -euo pipefail

script="$1"
scratch="$(mktemp -d)"
trap 'rm -rf "$scratch"' EXIT
if ! command -v curl >/dev/null; then
    echo "skipped: wget reads no file:// URLs and curl is not installed"
    exit 77
fi

problems=0
problem() {
    echo "FAILED: $1" >&2
    problems=$((problems + 1))
}

# new_project: a fresh project in $project with the script in it.
new_project() {
    project="$(mktemp -d "$scratch/project.XXXXXX")"
    mkdir "$project/scripts"
    cp "$script" "$project/scripts/"
    target="$project/data/cifar-10-batches-bin"
}

# run NAME WANTED_STATUS WANTED_TEXT [VARIABLE=VALUE...]: runs the script and compares.
run() {
    local name="$1" status=0 output
    output="$(env "${@:4}" "$project/scripts/get_cifar10.sh" 2>&1)" || status=$?
    [ "$status" = "$2" ] || problem "$name: status $status, wanted $2: $output"
    case "$output" in
        *"$3"*) ;;
        *) problem "$name: no '$3' in: $output" ;;
    esac
    if compgen -G "$project/data/.get_cifar10.*" >/dev/null; then problem "$name: left its scratch folder"; fi
}

no_target() {
    [ ! -e "$target" ] || problem "$1: left $target"
}

mkdir "$scratch/cifar-10-batches-bin"
for i in 1 2 3 4 5; do echo "train $i" >"$scratch/cifar-10-batches-bin/data_batch_$i.bin"; done
echo "test" >"$scratch/cifar-10-batches-bin/test_batch.bin"
tar -czf "$scratch/good.tar.gz" -C "$scratch" cifar-10-batches-bin
rm "$scratch/cifar-10-batches-bin/data_batch_4.bin"
tar -czf "$scratch/incomplete.tar.gz" -C "$scratch" cifar-10-batches-bin
head -c 100 "$scratch/good.tar.gz" >"$scratch/cut.tar.gz"
sha256="$(sha256sum <"$scratch/good.tar.gz" | cut -d' ' -f1)"
md5="$(md5sum <"$scratch/good.tar.gz" | cut -d' ' -f1)"
good=("CIFAR10_URL=file://$scratch/good.tar.gz" "CIFAR10_SHA256=$sha256" "CIFAR10_MD5=$md5")
unchecked=(CIFAR10_SHA256= CIFAR10_MD5=)

new_project
run "download" 0 "CIFAR-10 is in $target." "${good[@]}"
[ "$(cat "$target/data_batch_3.bin")" = "train 3" ] || problem "download: wrong content"
run "second run" 0 "already in" CIFAR10_URL=file:///none
rm "$target/test_batch.bin"
run "incomplete folder" 1 "exists but is not complete: move it away" "${good[@]}"

new_project
run "wrong sha256" 1 "wrong checksum (sha256sum $sha256, expected c4a38c50" "${good[0]}"
no_target "wrong sha256"
run "wrong md5" 1 "wrong checksum (md5sum $md5, expected c32a1d4a" "${good[0]}" "${good[1]}"
no_target "wrong md5"
run "no such file" 1 "Downloading file:///none failed" CIFAR10_URL=file:///none
no_target "no such file"
run "incomplete archive" 1 "does not hold the six files" \
    "CIFAR10_URL=file://$scratch/incomplete.tar.gz" "${unchecked[@]}"
no_target "incomplete archive"
run "cut archive" 1 "Unpacking the archive failed" "CIFAR10_URL=file://$scratch/cut.tar.gz" "${unchecked[@]}"
no_target "cut archive"

mkdir "$scratch/bin"
for tool in bash env dirname mkdir mktemp rm sha256sum md5sum cut tar mv gzip; do
    ln -s "$(command -v "$tool")" "$scratch/bin/$tool"
done
run "no downloader" 1 "Neither curl nor wget is installed" "PATH=$scratch/bin" "${good[@]}"
no_target "no downloader"
run "afterwards" 0 "CIFAR-10 is in $target." "${good[@]}"

[ "$problems" = 0 ] && echo "all passed"
