#!/usr/bin/env bash
# Installs what is missing, builds, and trains ResNet-20 with a quantized gradient in a short profile.
#
#   scripts/train.sh [OPTIONS]    options of cifar_train; they override the profile
#
# With --resume, --eval, --dump-step or --help the profile is left out, since those bring their own.
# The run's files go to runs/ in the folder this is started from.
set -euo pipefail
source "$(dirname "${BASH_SOURCE[0]}")/common.sh"

profile=(--model resnet_20 --quant standard --epochs 5 --batch-size 128 --lr 0.4 --lr-schedule onecycle)
for argument in "$@"; do
    case "$argument" in
        --resume | --resume=* | --eval | --eval=* | --dump-step | --dump-step=* | --help) profile=() ;;
    esac
done

install_packages "${build_packages[@]}"
build_preset cpu cifar_train

# `--data auto` looks into data/ of the folder it is started in; from elsewhere, point it at the project's.
if [ -z "${CIFAR10_DIR:-}" ] && [ -d "$root/data/cifar-10-batches-bin" ]; then
    export CIFAR10_DIR="$root/data"
fi
command=("$root/build/cpu/apps/cifar_train" "${profile[@]}" "$@")
echo "${command[*]}"
exec "${command[@]}"
