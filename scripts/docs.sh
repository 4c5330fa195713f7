#!/usr/bin/env bash
# Makes the pages of the API from the headers' comments: build/docs/html/index.html. Any warning of Doxygen fails, and so
# does a type or function of a public header without a comment. (Fields, constants and plain getters need one only where
# their name and type do not say it all.)
set -euo pipefail
source "$(dirname "${BASH_SOURCE[0]}")/common.sh"

install_packages "${docs_packages[@]}"
cd "$root"
rm -rf build/docs
mkdir -p build/docs
doxygen docs/Doxyfile

# The same once more for what is missing, where other folders may use it.
public=(engine kernels layers layers/models data bindings/c train train/report quant/codec.h quant/codec_options.h quant/stream.h
    quant/entropy.h quant/error_feedback.h)
missing="$({
    cat docs/Doxyfile
    printf '%s\n' "INPUT = ${public[*]}" "EXTRACT_ALL = NO" "WARN_IF_UNDOCUMENTED = YES" "WARN_AS_ERROR = NO" \
        "GENERATE_HTML = NO" "GENERATE_XML = YES" "XML_OUTPUT = checked"
} | doxygen - 2>&1 | grep -vE '\(variable\) of|\(\) const( noexcept)? \(function\)|operator==|< [a-z0-9_:]+ >(\(| is not)' || true)"
rm -rf build/docs/checked
if [ -n "$missing" ]; then
    echo "$missing" >&2
    fail "Some declarations have no comment."
fi
echo "build/docs/html/index.html"
