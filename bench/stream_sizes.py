#!/usr/bin/env python3
"""What entropy coding gains: bits an element of packed streams, before and after, by the program `quantize`.

    stream_sizes.py [NAME=FILE.npy ...] [--program build/cpu/apps/quantize] [--output bench/results/stream_sizes.json]

On 1,000,000 normal numbers and on every float32 array named, such as gradients. 16 levels, buckets of 512 and 51,200.
Writes JSON and prints a Markdown table.
"""

import argparse
import array
import json
import pathlib
import random
import subprocess
import tempfile

from sides import ROOT, commit

CODECS = ["standard", "smart", "hadamard", "exponential"]
BUCKETS = [512, 51200]
NORMAL_NUMBERS = 1_000_000


def write_normal(path):
    """Normal numbers as a .npy file (NumPy's format, version 1.0)."""
    draw = random.Random(1)
    numbers = array.array("f", (draw.gauss(0, 1) for _ in range(NORMAL_NUMBERS)))
    header = f"{{'descr': '<f4', 'fortran_order': False, 'shape': ({NORMAL_NUMBERS},), }}"
    header = header.ljust(127 - 10) + "\n"
    path.write_bytes(b"\x93NUMPY\x01\x00" + len(header).to_bytes(2, "little") + header.encode() + numbers.tobytes())


def bits_of(arguments, source, folder, codec, bucket):
    """Bits an element, packed and entropy-coded, and what else quantize reports."""
    said = folder / "said.json"
    command = [arguments.program, source, folder / "out.npy", "--quant", codec, "--bucket-size", bucket, "--levels", 16,
               "--json", said, "--entropy-coding", "--codes", folder / "codes"]  # fmt: skip
    subprocess.run([str(word) for word in command], check=True, stdout=subprocess.DEVNULL)
    measured = json.loads(said.read_text())["measured"]
    return {"elements": measured["elements"], "packed": measured["bits_per_element"],
            "coded": measured["bits_per_element_entropy_coded"], "variance": measured["variance"]}  # fmt: skip


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("arrays", nargs="*", metavar="NAME=FILE.npy")
    parser.add_argument("--program", default=str(ROOT / "build/cpu/apps/quantize"))
    parser.add_argument("--output", type=pathlib.Path, default=ROOT / "bench/results/stream_sizes.json")
    arguments = parser.parse_args()
    sizes = {}
    with tempfile.TemporaryDirectory() as name:
        folder = pathlib.Path(name)
        write_normal(folder / "normal.npy")
        sources = {"normal numbers": folder / "normal.npy"}
        sources |= {text.split("=", 1)[0]: pathlib.Path(text.split("=", 1)[1]) for text in arguments.arrays}
        for codec in CODECS:
            for bucket in BUCKETS:
                sizes[f"{codec}/{bucket}"] = {
                    name: bits_of(arguments, source, folder, codec, bucket) for name, source in sources.items()
                }
    arguments.output.write_text(json.dumps({"commit": commit(), "bits_per_element": sizes}, indent=1) + "\n")
    print("| codec | bucket | " + " | ".join(sources) + " |\n" + "|---" * (2 + len(sources)) + "|")
    for row, of_row in sizes.items():
        codec, bucket = row.split("/")
        cells = [f"{bits['packed']:.2f} → {bits['coded']:.2f}" for bits in of_row.values()]
        print(f"| `{codec}` | {bucket} | " + " | ".join(cells) + " |")


if __name__ == "__main__":
    main()
