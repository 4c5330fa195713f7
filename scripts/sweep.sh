#!/usr/bin/env bash
# Installs what is missing, builds, trains with one codec after the other, and ends with a page that compares them.
#
#   scripts/sweep.sh [--codecs C,C,..] [--output DIR] [OPTIONS]
#
# --codecs   codecs, each NAME[:OPTION=VALUE].. with the options of a codec, as in standard,standard:levels=4
#            (none,standard,smart,exponential,hadamard)
# --output   folder for the runs, one folder each, and for compare.html (a new one in runs/)
# OPTIONS    options of cifar_train for all runs; they override the profile: ResNet-20, two epochs in bf16
#
# CIFAR_TRAIN, where it is set, names the program to run; then nothing is installed or built.
#
# Options are checked before anything is trained. A run that fails does not keep the others from running: the page
# compares those that finished an epoch, and the status is 1. Ctrl-C ends the sweep; the page is then made of what
# there is.
set -euo pipefail
source "$(dirname "${BASH_SOURCE[0]}")/common.sh"

codecs=none,standard,smart,exponential,hadamard
output=""
options=()
while [ $# -gt 0 ]; do
    case "$1" in
        --codecs=* | --output=*) set -- "${1%%=*}" "${1#*=}" "${@:2}"; continue ;;
        --codecs | --output)
            [ $# -ge 2 ] || fail "$1 needs a value."
            [ -n "$2" ] || fail "$1 was given an empty text."
            if [ "$1" = --codecs ]; then codecs="$2"; else output="$2"; fi
            shift
            ;;
        -h | --help)
            sed -n '2,/^set/s/^# \{0,1\}//p' "${BASH_SOURCE[0]}"
            exit 0
            ;;
        --resume | --resume=* | --eval | --eval=* | --dump-step | --dump-step=* | --quant | --quant=*)
            fail "${1%%=*} is for one run; a sweep takes --codecs and begins each run anew."
            ;;
        *) options+=("$1") ;;
    esac
    shift
done
[ -n "$output" ] || output="runs/sweep-$(date +%Y%m%d-%H%M%S)"
# What follows a dash would be read as an option.
[[ "$output" != -* ]] || output="./$output"
[ ! -e "$output" ] || [ -z "$(ls -A "$output")" ] || fail "$output is not empty; choose another --output."

profile=(--model resnet_20 --epochs 2 --batch-size 128 --lr 0.4 --lr-schedule onecycle --precision bf16)
for option in ${options[@]+"${options[@]}"}; do
    # The profile's schedule has no milestones.
    if [[ "$option" == --milestones* ]]; then profile+=(--lr-schedule multistep); fi
done

program="${CIFAR_TRAIN:-}"
if [ -z "$program" ]; then
    install_packages "${build_packages[@]}"
    build_preset cpu cifar_train
    program="$root/build/cpu/apps/cifar_train"
fi
if [ -z "${CIFAR10_DIR:-}" ] && [ -d "$root/data/cifar-10-batches-bin" ]; then
    export CIFAR10_DIR="$root/data"
fi

# train CODEC [OPTIONS]: options behind those of the sweep.
train() {
    local parts part arguments
    IFS=: read -r -a parts <<<"$1"
    arguments=(--quant "${parts[0]:-}")
    for part in "${parts[@]:1}"; do
        if [[ "$part" == *=* ]]; then arguments+=("--${part%%=*}" "${part#*=}"); else arguments+=("--$part"); fi
    done
    "$program" "${profile[@]}" ${options[@]+"${options[@]}"} "${arguments[@]}" "${@:2}"
}

IFS=, read -r -a list <<<"$codecs"
names=,
for codec in "${list[@]}"; do
    [[ "$names" != *",$codec,"* ]] || fail "--codecs names '$codec' twice."
    names+="$codec,"
    # Where no data are, the program ends behind the check of its options, with the status 2 if it is these.
    said="$(train "$codec" --data /dev/null 2>&1)" && status=0 || status=$?
    [ "$status" -ne 2 ] || fail "With ${codec:-an empty name}: ${said##*cifar_train: }"
done

interrupted=""
trap 'interrupted=yes' INT TERM
failed=()
finished=()
for codec in "${list[@]}"; do
    folder="$output/${codec//[:=]/-}"
    echo
    echo "== $codec"
    train "$codec" --output "$folder" || failed+=("$codec")
    if [ -e "$folder/metrics.csv" ]; then finished+=("$folder"); fi
    [ -z "$interrupted" ] || break
done

echo
if [ "${#finished[@]}" -gt 0 ]; then
    "$program" compare "${finished[@]}" --output "$output/compare.html"
else
    echo "No run finished an epoch, so there is nothing to compare."
fi
[ "${#failed[@]}" -eq 0 ] || fail "Failed or stopped, see above: ${failed[*]}"
[ -z "$interrupted" ] || fail "Stopped."
