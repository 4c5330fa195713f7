#!/usr/bin/env python3
"""Carries weights between cifar_train's files and PyTorch's state dicts, both ways.

    convert_pytorch.py to-pytorch CHECKPOINT STATE.pt
    convert_pytorch.py from-pytorch STATE.pt MODEL.safetensors
    convert_pytorch.py from-pytorch STATE.pt CHECKPOINT.safetensors --like CHECKPOINT

to-pytorch takes a checkpoint or a model file; STATE.pt is what load_state_dict(torch.load("STATE.pt"), strict=True) of
a module of the same structure takes (tests/golden/models.py has the three).

from-pytorch takes what torch.save(module.state_dict(), "STATE.pt") wrote, in any floating-point type, and finds out by
the names which model it is. What it writes is for `cifar_train --eval`. With --like, it is a copy of that checkpoint
with other weights and running statistics, from which `cifar_train --resume` goes on: options, progress and momentum
are the old ones, so weights that went to PyTorch and came back continue bitwise as if they had never left.

Needs Debian's python3-torch and python3-numpy.
"""
import argparse
import sys

try:
    import numpy as np
    import torch
except ImportError as error:
    sys.exit(f"{error.name} is missing: apt-get install python3-torch python3-numpy")

import model_files
import networks


def to_pytorch(arguments):
    tensors, metadata = model_files.read(arguments.input)
    state = {name: torch.from_numpy(array.copy()) for name, array in model_files.weights(tensors, metadata).items()}
    # PyTorch counts the batches that its running statistics come from; it never looks at the number here.
    for name in networks.shapes(metadata["model"])[1]:
        state[f"{name}.num_batches_tracked"] = torch.tensor(int(metadata.get("step", "0")))
    model_files.write(arguments.output, lambda path: torch.save(state, path), [arguments.input])


def read_state(path):
    """name -> float32 array."""
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
    except OSError as error:
        sys.exit(f"cannot read {path}: {error.strerror}")
    except Exception:  # what pickle, zipfile and PyTorch raise is a long list
        sys.exit(f"{path} is no file of torch.save(module.state_dict(), ...)")
    if not isinstance(state, dict) or not all(isinstance(value, torch.Tensor) for value in state.values()):
        sys.exit(f"{path} holds something else than a state dict, from names to tensors")
    state = {name: tensor for name, tensor in state.items() if not str(name).endswith(".num_batches_tracked")}
    for name, tensor in state.items():
        if not tensor.is_floating_point():
            sys.exit(f"{path} holds '{name}' as {tensor.dtype}, which is no floating-point type")
    return {name: np.ascontiguousarray(tensor.float().numpy()) for name, tensor in state.items()}


def from_pytorch(arguments):
    state = read_state(arguments.input)
    model = networks.model_of(state)
    if model is None:
        sys.exit(f"{arguments.input} has the names of none of the models resnet_N, alexnet and simple")
    model_files.check(arguments.input, model, state)
    shapes, _ = networks.shapes(model)
    for name in state:
        if name not in shapes:
            sys.exit(f"{arguments.input} has the tensor '{name}', which {model} does not know")
    inputs = [arguments.input]
    if not arguments.like:
        tensors = {name: state[name] for name in shapes}
        metadata = {"format": model_files.MODEL, "format_version": "1", "model": model}
    else:
        inputs.append(arguments.like)
        tensors, metadata = model_files.read(arguments.like)
        if metadata["format"] != model_files.CHECKPOINT:
            sys.exit(f"{arguments.like} holds weights alone; --like takes a checkpoint")
        if metadata["model"] != model:
            sys.exit(f"{arguments.like} is of {metadata['model']}, {arguments.input} of {model}")
        tensors = {name: state.get(name, array) for name, array in tensors.items()}
    model_files.write_safetensors(arguments.output, tensors, metadata, inputs)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    ways = parser.add_subparsers(dest="way", required=True)
    out = ways.add_parser("to-pytorch", help="from a checkpoint or model file to a state dict")
    out.add_argument("input", metavar="CHECKPOINT")
    out.add_argument("output", metavar="STATE.pt")
    out.set_defaults(run=to_pytorch)
    back = ways.add_parser("from-pytorch", help="from a state dict to a model file or checkpoint")
    back.add_argument("input", metavar="STATE.pt")
    back.add_argument("output", metavar="OUTPUT.safetensors")
    back.add_argument("--like", metavar="CHECKPOINT", help="take all but the weights from this checkpoint")
    back.set_defaults(run=from_pytorch)
    arguments = parser.parse_args()
    arguments.run(arguments)


if __name__ == "__main__":
    main()
