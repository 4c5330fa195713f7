# Shared by the scripts: which packages the project needs, how they get here, how a preset is built.
# To be sourced; sets `root`, the folder of the project.
root="$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)"

# Names in Debian 12 and Ubuntu 24.04. The only list of packages in the project. oneDNN's CMake package looks for
# OpenCL, which its Debian package only recommends.
build_packages=(cmake ninja-build g++ libdnnl-dev ocl-icd-opencl-dev libfmt-dev libcli11-dev nlohmann-json3-dev
    libgtest-dev libbenchmark-dev libxxhash-dev)
format_packages=(clang-format-14)
# For tests of what goes to Python, PyTorch, ONNX and TensorBoard; they are skipped without.
python_packages=(python3-numpy python3-torch python3-pip)
# The same of PyPI, with all they need beside Debian's numpy, because Debian 12 does not have them.
pypi_packages=(onnxruntime==1.32.0 scikit-build-core==1.1.2 packaging==26.4 pathspec==1.1.1
    tensorboard==2.21.0 absl-py==2.5.1 protobuf==7.36.2)
docs_packages=(doxygen)
clang_packages=(clang libclang-rt-dev libomp-dev)  # for fuzzing and ThreadSanitizer

fail() {
    echo "$(basename "$0"): $1" >&2
    exit 1
}

is_installed() {
    [ "$(dpkg-query --show --showformat='${db:Status-Status}' "$1" 2>/dev/null)" = installed ]
}

# install_packages NAME...: what of it is missing. Where this user may not install, prints the line to run and ends.
install_packages() {
    local missing=() as_root=() package log
    if ! command -v dpkg-query >/dev/null; then
        echo "This is no Debian or Ubuntu system: if the build misses something, it is among: $*" >&2
        return
    fi
    for package in "$@"; do
        is_installed "$package" || missing+=("$package")
    done
    if [ "${#missing[@]}" -eq 0 ]; then return; fi

    if [ "$(id -u)" -ne 0 ]; then
        if ! command -v sudo >/dev/null; then
            fail "Some packages are missing. Run this line, then start again:
  su -c 'apt-get update && apt-get install -y ${missing[*]}'"
        fi
        if ! sudo -n true 2>/dev/null; then
            fail "Some packages are missing. Run this line, then start again:
  sudo apt-get update && sudo apt-get install -y ${missing[*]}"
        fi
        as_root=(sudo -n)
    fi
    echo "Installing ${missing[*]}"
    log="$(mktemp)"
    # Outdated lists are no reason to give up: the packages may be in them all the same.
    "${as_root[@]}" env DEBIAN_FRONTEND=noninteractive apt-get -q update >"$log" 2>&1 || true
    if ! "${as_root[@]}" env DEBIAN_FRONTEND=noninteractive \
        apt-get -q install -y --no-install-recommends "${missing[@]}" >>"$log" 2>&1; then
        tail -n 15 "$log" >&2
        rm -f "$log"
        fail "Installing failed (above: the end of what apt-get said). The line to repeat it:
  ${as_root[*]:+sudo }apt-get update && ${as_root[*]:+sudo }apt-get install -y ${missing[*]}"
    fi
    rm -f "$log"
}

# install_pypi_packages NAME==VERSION...: into build/python, where the tests look for them.
install_pypi_packages() {
    local log
    log="$(mktemp)"
    if ! /usr/bin/python3 -m pip install --quiet --disable-pip-version-check --root-user-action=ignore --no-deps \
        --upgrade --target "$root/build/python" "$@" >"$log" 2>&1; then
        tail -n 3 "$log" >&2
        echo "What PyPI has is not there: tests that need it are skipped." >&2
    fi
    rm -f "$log"
}

# build_preset NAME [TARGET...]: configures and builds; the configuration is shown only if it fails.
build_preset() {
    local preset="$1" log
    shift
    log="$(mktemp)"
    if ! (cd "$root" && cmake --preset "$preset") >"$log" 2>&1; then
        cat "$log" >&2
        rm -f "$log"
        fail "Configuring the preset '$preset' failed."
    fi
    rm -f "$log"
    (cd "$root" && cmake --build --preset "$preset" -j "$(nproc)" ${1:+--target "$@"}) ||
        fail "Building the preset '$preset' failed."
}
