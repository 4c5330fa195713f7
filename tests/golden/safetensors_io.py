"""Safetensors files by hand: eight bytes of header length, a JSON header, raw little-endian data."""

import json
import struct

import numpy as np

_TYPES = {"F32": "<f4", "F64": "<f8", "I64": "<i8"}
_NAMES = {np.dtype(text): name for name, text in _TYPES.items()}


def write(path, tensors, metadata):
    """tensors: name -> NumPy array of float32, float64 or int64; metadata: str -> str."""
    header, offset = {"__metadata__": metadata}, 0
    for name, array in tensors.items():
        end = offset + array.nbytes
        header[name] = {"dtype": _NAMES[array.dtype], "shape": list(array.shape), "data_offsets": [offset, end]}
        offset = end
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    with open(path, "wb") as file:
        file.write(struct.pack("<Q", len(text)) + text)
        for array in tensors.values():
            file.write(np.ascontiguousarray(array).tobytes())


def read(path):
    """(name -> NumPy array, metadata). ValueError for a file of another form."""
    with open(path, "rb") as file:
        data = file.read()
    try:
        (length,) = struct.unpack_from("<Q", data)
        header = json.loads(data[8 : 8 + length])
        metadata = header.pop("__metadata__", {})
        body = memoryview(data)[8 + length :]
        tensors = {}
        for name, entry in header.items():
            begin, end = entry["data_offsets"]
            tensors[name] = np.frombuffer(body[begin:end], _TYPES[entry["dtype"]]).reshape(entry["shape"])
    except (struct.error, ValueError, LookupError, TypeError, AttributeError):
        raise ValueError(f"{path} is not a whole safetensors file of float32, float64 and int64") from None
    return tensors, metadata
