#!/usr/bin/env bash
# test_exports.sh LIBRARY: it shows the functions of qstep.h and nothing else.
set -euo pipefail
command -v nm >/dev/null || { echo "There is no nm."; exit 77; }
header="$(dirname "${BASH_SOURCE[0]}")/../../bindings/c/qstep.h"
declared="$(sed -nE 's/^QSTEP_API .*(qstep_[a-z_]+)\(.*/\1/p' "$header" | sort)"
exported="$(nm -D --defined-only "$1" | awk '{ print $3 }' | sort)"
if [ "$declared" != "$exported" ] || [ -z "$declared" ]; then
    echo "Declared in qstep.h (<) and exported by $1 (>):"
    diff <(echo "$declared") <(echo "$exported")
    exit 1
fi
