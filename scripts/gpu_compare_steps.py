#!/usr/bin/env python3
"""Compares two safetensors files of cifar_train: the same step on two devices, or the end of two runs.

    gpu_compare_steps.py [--precision fp32|tf32|bf16] [--exact] FIRST SECOND
    gpu_compare_steps.py --gradient STEP FILE.npy
    gpu_compare_steps.py --quantized STEP FILE.npy

Of each tensor the distance is |a - b| / |b| (Euclidean norms). Without --exact, for files of --dump-step, these are
compared: logits, loss and every gradient, all gradients taken as one vector too; of large tensors an even sample of
some 100,000 elements, for which plain Python is fast enough. Quantized gradients are left out,
since a random rounding near its threshold turns over with the last bit of a gradient; what follows from them too.
With --exact every tensor must have the same bits. --gradient writes the whole gradient of a step as one array;
--quantized compares such an array, bit by bit, with what the step's codec made of its gradient. Needs nothing but
Python. Ends with status 1 where they differ.
"""

import array
import json
import math
import struct
import sys

# ReLU's derivative jumps at zero: in a batch of 32 rounding decides the sign of a few inputs, and each moves
# gradients by up to some thousandths; one tensor alone may move more. tf32 has 10 bits of mantissa, bf16 7, and
# there such decisions are everywhere: PyTorch's own bf16 step is as far from exact arithmetic. Where a convolution has a
# bias (alexnet, simple) the CPU adds it before rounding to bf16 and CUDA behind it, as PyTorch does on CUDA. Of simple
# that moves single tensors by up to 15 % of their norm through ReLUs and the choices of max-pool; with the CPU made to
# round in CUDA's order, by up to 2 %.
SAMPLE = 100_000
TOLERANCES = {
    "fp32": {"logits": 1e-4, "loss": 1e-5, "gradient": 1e-2, "tensor": 3e-2},
    "tf32": {"logits": 2e-2, "loss": 2e-3, "gradient": 1e-1, "tensor": 3e-1},
    "bf16": {"logits": 1e-1, "loss": 1e-2, "gradient": 3e-1, "tensor": 8e-1},
}


def read(path):
    with open(path, "rb") as file:
        data = file.read()
    (length,) = struct.unpack_from("<Q", data)
    header = json.loads(data[8 : 8 + length])
    header.pop("__metadata__", None)
    body = memoryview(data)[8 + length :]
    return {name: (entry, body[slice(*entry["data_offsets"])]) for name, entry in header.items()}


def numbers(tensor):
    entry, data = tensor
    values = array.array({"F32": "f", "F64": "d", "I64": "q"}[entry["dtype"]])
    values.frombytes(data)
    return values[:: max(1, len(values) // SAMPLE)]


def squares(first, second):
    """|a - b|^2 and |b|^2."""
    difference = math.fsum((x - y) ** 2 for x, y in zip(first, second))
    return difference, math.fsum(y * y for y in second)


def distance(difference, norm):
    return math.sqrt(difference / norm) if norm > 0 else math.sqrt(difference)


def compare_exactly(first, second):
    names = sorted(first.keys() | second.keys())
    return [n for n in names if n not in first or n not in second or first[n][1] != second[n][1]]


def flat(file, prefix):
    """The parameters' tensors with this prefix as one array, in the parameters' order, which is the file's."""
    entries = [entry for name, entry in file.items() if name.startswith(prefix)]
    return b"".join(data for _, data in sorted(entries, key=lambda entry: entry[0]["data_offsets"]))


def write_npy(path, data):
    header = f"{{'descr': '<f4', 'fortran_order': False, 'shape': ({len(data) // 4},), }}"
    header = header.ljust(128 - 11) + "\n"  # the whole head takes 128 bytes
    with open(path, "wb") as file:
        file.write(b"\x93NUMPY\x01\x00" + struct.pack("<H", len(header)) + header.encode() + data)


def read_npy(path):
    with open(path, "rb") as file:
        data = file.read()
    (length,) = struct.unpack_from("<H", data, 8)
    return data[10 + length :]


def compare_quantized(step, path):
    ours, theirs = flat(step, "quantized_grad."), read_npy(path)
    if len(ours) != len(theirs):
        return [f"{len(ours) // 4} elements in the step, {len(theirs) // 4} in {path}"]
    differing = sum(ours[i : i + 4] != theirs[i : i + 4] for i in range(0, len(ours), 4)) if ours != theirs else 0
    return [f"{differing} of {len(ours) // 4} quantized elements differ"] if differing else []


def compare_steps(first, second, tolerance):
    problems, total = [], [0.0, 0.0]

    def check(name, value, bound):
        if not value <= bound:  # NaN fails
            problems.append(f"{name}: {value:.2e} > {bound:.0e}")

    for name in sorted(second):
        if name not in ("logits", "loss") and not name.startswith("grad."):
            continue
        if name not in first:
            problems.append(f"{name} is missing")
            continue
        sums = squares(numbers(first[name]), numbers(second[name]))
        check(name, distance(*sums), tolerance.get(name, tolerance["tensor"]))
        if name.startswith("grad."):
            total = [total[0] + sums[0], total[1] + sums[1]]
    check("all gradients", distance(*total), tolerance["gradient"])
    print(f"  all gradients {distance(*total):.2e}")
    return problems


def use_array(option, step, path):
    try:
        if option == "--gradient":
            write_npy(path, flat(read(step), "grad."))
            return 0
        problems = compare_quantized(read(step), path)
    except OSError as error:
        raise SystemExit(f"gpu_compare_steps.py: {error}")
    for problem in problems:
        print(f"  {problem}")
    return 1 if problems else 0


def main():
    arguments, precision = sys.argv[1:], "fp32"
    if len(arguments) == 3 and arguments[0] in ("--gradient", "--quantized"):
        return use_array(*arguments)
    exact = "--exact" in arguments
    if exact:
        arguments.remove("--exact")
    if "--precision" in arguments:
        at = arguments.index("--precision")
        precision = arguments[at + 1]
        del arguments[at : at + 2]
    if len(arguments) != 2 or precision not in TOLERANCES:
        raise SystemExit(__doc__)
    try:
        first, second = (read(path) for path in arguments)
    except OSError as error:
        raise SystemExit(f"gpu_compare_steps.py: {error}")
    problems = compare_exactly(first, second) if exact else compare_steps(first, second, TOLERANCES[precision])
    for problem in problems:
        print(f"  {problem}")
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main())
