#!/usr/bin/env bash
# test_package.sh PYTHON SOURCE: pip builds and installs the Python module from the source tree, and it works there.
set -euo pipefail
python="$1" source="$2"
"$python" -c 'import pip, numpy, scikit_build_core' 2>/dev/null || {
    echo "There is no pip, numpy or scikit-build-core."
    exit 77
}
folder="$(mktemp -d)"
trap 'rm -rf "$folder"' EXIT
# What is installed is built from what is here alone: neither isolation nor an index.
"$python" -m pip install --quiet --no-build-isolation --no-deps --no-index --disable-pip-version-check \
    --root-user-action=ignore --target "$folder/site" "$source" >"$folder/log" 2>&1 || { cat "$folder/log"; exit 1; }
cd "$folder"
env -u QSTEP_LIBRARY PYTHONPATH="$folder/site" "$python" - <<'END'
import numpy, pathlib, qstep
here = pathlib.Path(qstep.__file__).resolve().parent
assert here.parent.name == "site", here
array = numpy.linspace(-1, 1, 1000, dtype=numpy.float32)
codec = qstep.Codec("standard", levels=8)
rounded = codec.quantize(array)
assert len(numpy.unique(rounded)) <= 16 and (qstep.decode(codec.encode(array)) == rounded).all()
print("qstep", qstep.__version__, "in", sorted(path.name for path in here.iterdir() if path.is_file()))
END
! ldd "$folder/site/qstep/libqstep.so" | grep -E 'dnnl|not found'
