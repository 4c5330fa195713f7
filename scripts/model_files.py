"""Weights in the files of cifar_train, checkpoints and models (train/checkpoint.h), for scripts."""
import os
import pathlib
import struct
import sys

import networks

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent / "tests" / "golden"))
import safetensors_io  # noqa: E402

CHECKPOINT, MODEL = "qstep checkpoint", "qstep model"


def read(path):
    """(name -> array, metadata) of a file of cifar_train, all tensors of its model among them. Ends the program with
    a sentence for any other file."""
    try:
        tensors, metadata = safetensors_io.read(path)
    except OSError as error:
        sys.exit(f"cannot read {path}: {error.strerror}")
    except (struct.error, ValueError, KeyError, TypeError, AttributeError):
        sys.exit(f"{path} is no safetensors file of float32 numbers")
    if metadata.get("format") not in (CHECKPOINT, MODEL) or metadata.get("format_version") != "1":
        sys.exit(f"{path} is no checkpoint or model file of cifar_train, version 1")
    check(path, metadata.get("model", ""), tensors)
    return tensors, metadata


def check(path, model, tensors):
    """Ends the program where a tensor of the model is missing or has another type or shape."""
    try:
        expected, _ = networks.shapes(model)
    except ValueError as error:
        sys.exit(f"{path}: {error}")
    for name, shape in expected.items():
        if name not in tensors:
            sys.exit(f"{path} has no tensor '{name}', which {model} needs")
        if tuple(tensors[name].shape) != shape:
            sys.exit(f"{path} holds '{name}' as {list(tensors[name].shape)}; {model} needs {list(shape)}")
        if str(tensors[name].dtype) != "float32":
            sys.exit(f"{path} holds '{name}' as {tensors[name].dtype}; {model} needs float32")


def weights(tensors, metadata):
    """Parameters and running statistics alone, in PyTorch's order."""
    return {name: tensors[name] for name in networks.shapes(metadata["model"])[0]}


def write(path, write_to, inputs):
    """Calls write_to(path of a file that becomes `path` when it is complete). Ends the program with a sentence where
    that fails, and where `path` is one of the inputs."""
    for name in inputs:
        if os.path.exists(path) and os.path.exists(name) and os.path.samefile(path, name):
            sys.exit(f"{path} would replace the input {name}")
    unfinished = f"{path}.tmp"
    try:
        write_to(unfinished)
        os.replace(unfinished, path)
    except (OSError, RuntimeError) as error:  # RuntimeError: PyTorch's
        if os.path.isfile(unfinished):
            os.remove(unfinished)
        sys.exit(f"cannot write {path}: {getattr(error, 'strerror', None) or error}")
    print(f"written: {path}")


def write_safetensors(path, tensors, metadata, inputs):
    write(path, lambda unfinished: safetensors_io.write(unfinished, tensors, metadata), inputs)
