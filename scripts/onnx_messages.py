"""The few messages of an ONNX file that a feed-forward network needs, written by hand.

ONNX files are Protocol Buffers: a message is a row of fields, each its number and kind in one varint, then its value.
Field numbers are those of onnx.proto (ONNX 1.12, IR version 7); the wire format is that of the Protocol Buffers
documentation, "Encoding".
"""
import struct

IR_VERSION, OPSET = 7, 13
_FLOAT = 1  # TensorProto.DataType
_ATTRIBUTE_TYPES = {"f": 1, "i": 2, "ints": 7}


def _varint(value):
    out = bytearray()
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)
    return bytes(out)


def _number(field, value):
    return _varint(field << 3) + _varint(value)


def _bytes(field, value):
    value = value.encode() if isinstance(value, str) else value
    return _varint(field << 3 | 2) + _varint(len(value)) + value


def _attribute(name, value):
    if isinstance(value, float):
        kind, body = "f", _varint(2 << 3 | 5) + struct.pack("<f", value)
    elif isinstance(value, int):
        kind, body = "i", _number(3, value)
    else:
        kind, body = "ints", b"".join(_number(8, item) for item in value)
    return _bytes(1, name) + body + _number(20, _ATTRIBUTE_TYPES[kind])


def node(operator, inputs, output, **attributes):
    """A NodeProto, named like its output. Attributes: float, int of at least 0, or a list of such ints."""
    return (b"".join(_bytes(1, name) for name in inputs) + _bytes(2, output) + _bytes(3, output) + _bytes(4, operator)
            + b"".join(_bytes(5, _attribute(name, value)) for name, value in attributes.items()))


def tensor(name, array):
    """A TensorProto of float32."""
    return (b"".join(_number(1, extent) for extent in array.shape) + _number(2, _FLOAT) + _bytes(8, name)
            + _bytes(9, array.astype("<f4").tobytes()))


def value(name, shape):
    """A ValueInfoProto of float32; a text among the extents names one that is free."""
    dimensions = b"".join(_bytes(1, _bytes(2, e) if isinstance(e, str) else _number(1, e)) for e in shape)
    return _bytes(1, name) + _bytes(2, _bytes(1, _number(1, _FLOAT) + _bytes(2, dimensions)))


def model(name, nodes, tensors, inputs, outputs, version, properties):
    """A ModelProto; nodes, tensors, inputs, outputs: lists of the above."""
    graph = (b"".join(_bytes(1, item) for item in nodes) + _bytes(2, name) + b"".join(_bytes(5, t) for t in tensors)
             + b"".join(_bytes(11, item) for item in inputs) + b"".join(_bytes(12, item) for item in outputs))
    return (_number(1, IR_VERSION) + _bytes(2, "qstep") + _bytes(3, version) + _bytes(7, graph)
            + _bytes(8, _bytes(1, "") + _number(2, OPSET))
            + b"".join(_bytes(14, _bytes(1, key) + _bytes(2, text)) for key, text in properties.items()))
