#!/usr/bin/env bash
# test_install.sh BUILD SANITIZERS: installs the library of the build folder somewhere, moves it, and builds and runs
# a program in C that finds it there by find_package(qstep). SANITIZERS: flags of the build, or nothing.
set -euo pipefail
consumer="$(cd "$(dirname "${BASH_SOURCE[0]}")/consumer" && pwd)"
folder="$(mktemp -d)"
trap 'rm -rf "$folder"' EXIT
cd "$folder"
cmake --install "$1" --component codecs --prefix "$folder/first" >install.log
mv first moved
cmake -S "$consumer" -B build -DCMAKE_PREFIX_PATH="$folder/moved" -DCMAKE_C_FLAGS="$2" >configure.log 2>&1 ||
    { cat configure.log; exit 1; }
cmake --build build >build.log 2>&1 || { cat build.log; exit 1; }
build/consumer
