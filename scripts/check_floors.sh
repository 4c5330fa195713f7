#!/usr/bin/env bash
# Checks that no file includes from a floor above its own, and that the seams between devices hold:
#   engine < kernels < quant < layers, data, bindings < train < apps
# Prints each violation as file:line; status 1 if there is one.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

declare -A floor=([engine]=0 [kernels]=1 [quant]=2 [layers]=3 [data]=3 [bindings]=3 [train]=4 [apps]=5)
violations=0

complain() {
    echo "$1"
    violations=$((violations + 1))
}

# check_include FILE LINE PATH
check_include() {
    local own="${1%%/*}" other="${3%%/*}"
    if [ ! -e "$3" ]; then
        complain "$1:$2: \"$3\" is not a path from the root of the project"
        return
    fi
    if [ -z "${floor[$other]:-}" ]; then
        complain "$1:$2: $own/ includes $3, which is on no floor"
    elif [ "${floor[$other]}" -gt "${floor[$own]}" ]; then
        complain "$1:$2: $own/ includes upwards: $3"
    elif [ "${floor[$own]}" -ge 3 ] && [[ "$3" =~ ^(kernels|quant)/(cpu|cuda)/ ]]; then
        complain "$1:$2: only kernels/ and quant/ know what a device is made of: $3"
    fi
}

for folder in "${!floor[@]}"; do
    while IFS=: read -r file line include; do
        check_include "$file" "$line" "$(sed -E 's/.*"([^"]+)".*/\1/' <<<"$include")"
    done < <(grep -rnE '^[[:space:]]*#[[:space:]]*include[[:space:]]*"' --include='*.h' --include='*.cpp' \
        --include='*.cu' --include='*.cuh' "$folder" || true)
done

# Interfaces name no library of a device.
while IFS=: read -r file line include; do
    complain "$file:$line: an interface without device types includes ${include#*include }"
done < <(grep -nE '#[[:space:]]*include[[:space:]]*[<"](dnnl|oneapi|omp|cuda|cudnn|cublas)' kernels/*.h quant/*.h engine/*.h || true)

if [ "$violations" -gt 0 ]; then
    echo "check_floors.sh: $violations violations" >&2
    exit 1
fi
echo "Every include points downwards."
