#!/usr/bin/env python3
"""Compares two safetensors files of cifar_train: the same step on two devices, or the end of two runs.

    gpu_compare_steps.py FIRST SECOND
    gpu_compare_steps.py --exact FIRST SECOND
    gpu_compare_steps.py --near FIRST SECOND
    gpu_compare_steps.py --precision tf32|bf16 FIRST FP32 BF16
    gpu_compare_steps.py --gradient STEP FILE.npy
    gpu_compare_steps.py --quantized STEP FILE.npy

Of each tensor the distance is |a - b| / |b| (Euclidean norms). Without --exact, for files of --dump-step, these are
compared: logits, loss and every gradient, all gradients taken as one vector too; of large tensors an even sample of
some 100,000 elements, for which plain Python is fast enough. Quantized gradients are left out,
since a random rounding near its threshold turns over with the last bit of a gradient; what follows from them too.
With --precision, FP32 and BF16 are the CPU's steps in these precisions, and the yardstick of each tensor is how far
the CPU's own bf16 strays from its fp32: FIRST may be twice as far from FP32 in bf16, and 0.7 times as far in tf32.
With --exact every tensor must have the same bits; with --near all must be near each other, as checkpoints are after
some steps without a codec on two devices. --gradient writes the whole gradient of a step as the last row of an
array with a row a step; --quantized compares the last row of such an array, bit by bit, with what the step's codec
made of its gradient. Needs nothing but Python. Ends with status 1 where they differ.
"""

import array
import json
import math
import struct
import sys

# ReLU's derivative jumps at zero: in a batch of 32 rounding decides the sign of a few of millions of inputs, and each
# decision moves gradients by up to some thousandths; one tensor alone may move more. The bounds of fp32 leave room for
# a few. Another order of sums on the CPU turns none over in ResNet-20's third step (seed 1) and moves all gradients by
# 1e-7, one tensor by up to 7e-7; but a GPU's convolutions round otherwise, so there the next inputs may be close
# enough. Logits and loss, which do not jump, have narrow bounds.
SAMPLE = 100_000
# Weights move by the learning rate times the gradient, and momentum is a sum of gradients.
NEAR = {"weights": 1e-3, "momentum": 3e-2}
TOLERANCES = {"logits": 1e-4, "loss": 1e-5, "gradient": 1e-2, "tensor": 3e-2}
# In bf16, with 7 bits of mantissa, such decisions are everywhere, and how much they move depends on the model, the
# layer and the batch: so it is measured. Two roundings of the same numbers at other places (a bias behind the
# rounding, another order of sums) stray by the same and independently. On the CPU the third step of ResNet-20 strays
# by 0.6 % in all gradients, 6 % in the median tensor and 22 % in the farthest; the first of simple by 9, 11 and 19 %.
# tf32 has 10 bits, so an eighth of the decisions, and gradients go with the root of their number: 0.35 of bf16's stray
# is to be expected, of which twice as much is allowed too. What is added is for tensors that hardly stray. A decision
# behind a layer moves all of its gradient, so by luck one tensor strays little where its neighbours do (in simple's first
# step the second linear layer's bias by 1.6 % on the CPU, and by 7 % where biases are added behind the rounding): of
# gradients the yardstick is the whole gradient's where that is longer.
STRAYS = {"bf16": (2.0, 1e-2), "tf32": (0.7, 2e-3)}


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


def compare_nearly(first, second):
    problems = [f"{name} is in one of the two alone" for name in sorted(first.keys() ^ second.keys())]
    for name in sorted(first.keys() & second.keys()):
        found = distance(*squares(numbers(first[name]), numbers(second[name])))
        bound = NEAR["momentum" if "momentum" in name else "weights"]
        if not found <= bound:  # NaN fails
            problems.append(f"{name}: {found:.2e} > {bound:.1e}")
    return problems


def flat(file, prefix):
    """The parameters' tensors with this prefix as one array, in the parameters' order, which is the file's."""
    entries = [entry for name, entry in file.items() if name.startswith(prefix)]
    return b"".join(data for _, data in sorted(entries, key=lambda entry: entry[0]["data_offsets"]))


def step_number(path):
    with open(path, "rb") as file:
        (length,) = struct.unpack("<Q", file.read(8))
        return int(json.loads(file.read(length))["__metadata__"]["step"])


def write_npy(path, data, step):
    """Row `step` of an array whose rows before it are zero: what quantize takes for the gradients of all steps."""
    shape = (step + 1, len(data) // 4)
    header = f"{{'descr': '<f4', 'fortran_order': False, 'shape': {shape}, }}"
    header = header.ljust(128 - 11) + "\n"  # the whole head takes 128 bytes
    with open(path, "wb") as file:
        file.write(b"\x93NUMPY\x01\x00" + struct.pack("<H", len(header)) + header.encode())
        file.write(bytes(step * len(data)) + data)


def read_npy(path):
    with open(path, "rb") as file:
        data = file.read()
    (length,) = struct.unpack_from("<H", data, 8)
    return data[10 + length :]


def compare_quantized(step, path):
    ours = flat(step, "quantized_grad.")
    theirs = read_npy(path)[-len(ours) :]
    if len(ours) != len(theirs):
        return [f"{len(ours) // 4} elements in the step, {len(theirs) // 4} in {path}"]
    differing = sum(ours[i : i + 4] != theirs[i : i + 4] for i in range(0, len(ours), 4)) if ours != theirs else 0
    return [f"{differing} of {len(ours) // 4} quantized elements differ"] if differing else []


def distances(first, second):
    """Of logits, loss, each gradient and all of them; infinite where `first` lacks one."""
    found, total = {}, [0.0, 0.0]
    for name in sorted(second):
        if name not in ("logits", "loss") and not name.startswith("grad."):
            continue
        if name not in first:
            found[name] = math.inf
            continue
        sums = squares(numbers(first[name]), numbers(second[name]))
        found[name] = distance(*sums)
        if name.startswith("grad."):
            total = [total[0] + sums[0], total[1] + sums[1]]
    found["all gradients"] = distance(*total)
    return found


def compare_steps(first, second, strays, precision):
    """strays: distances of the CPU's bf16, for a precision other than fp32."""
    # Nothing is farther than a yardstick that is infinite.
    unusable = [name for name, value in (strays or {}).items() if not math.isfinite(value)]
    if unusable:
        return [f"{name}: the CPU's bf16 step has none that is finite" for name in unusable]

    def bound(name):
        if precision == "fp32":
            return TOLERANCES.get(name, TOLERANCES["gradient" if name == "all gradients" else "tensor"])
        factor, least = STRAYS[precision]
        shared = strays["all gradients"] if name.startswith("grad.") else 0
        return factor * max(strays[name], shared) + least

    found = distances(first, second)
    line = f"  all gradients {found['all gradients']:.2e}"
    print(line if strays is None else f"{line}, the CPU's bf16 {strays['all gradients']:.2e}")
    # NaN fails.
    return [f"{name}: {value:.2e} > {bound(name):.1e}" for name, value in found.items() if not value <= bound(name)]


def use_array(option, step, path):
    try:
        if option == "--gradient":
            write_npy(path, flat(read(step), "grad."), step_number(step))
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
    compare = {"--exact": compare_exactly, "--near": compare_nearly}.get(arguments[0] if arguments else "")
    if compare:
        del arguments[0]
    elif arguments[:1] == ["--precision"] and len(arguments) > 1:
        precision = arguments[1]
        del arguments[:2]
    if len(arguments) != (2 if precision == "fp32" else 3) or precision not in ("fp32", *STRAYS):
        raise SystemExit(__doc__)
    try:
        first, second, *bf16 = (read(path) for path in arguments)
    except OSError as error:
        raise SystemExit(f"gpu_compare_steps.py: {error}")
    strays = distances(bf16[0], second) if bf16 else None
    problems = compare(first, second) if compare else compare_steps(first, second, strays, precision)
    for problem in problems:
        print(f"  {problem}")
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main())
