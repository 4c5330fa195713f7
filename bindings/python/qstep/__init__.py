"""Gradient codecs on NumPy arrays and whatever speaks DLPack.

    import numpy, qstep
    codec = qstep.Codec("standard", levels=8, bucket_size=512, seed=1)
    rounded = codec.quantize(gradient, step=17)      # an array of gradient's shape
    stream = codec.encode(gradient, step=17)         # bytes
    again = qstep.decode(stream)                     # one axis, the bits of `rounded`

Arrays are float32 in the memory of the host. Numbers and streams are those of the program `quantize`, bit for bit,
and do not depend on the number of threads. Errors are of one sentence: TypeError for an array of another kind,
ValueError for what makes no sense, RuntimeError for what failed. Codecs may be used from several threads, and be
copied and pickled. In a process that os.fork() made, such as a worker of multiprocessing, each call runs on one thread.
"""
import ctypes
import functools
import operator
import weakref

import numpy as np

from . import _library

__all__ = ["Codec", "codecs", "decode"]
__version__ = _library.LIBRARY.qstep_version().decode()

# DLPack's numbers of devices whose memory the host reads: its own, and what CUDA and ROCm pin of it.
_HOST_DEVICES = {1, 3, 11}
_DEVICE_NAMES = {2: "CUDA", 10: "ROCm", 13: "CUDA"}


def codecs():
    """The names of all codecs."""
    names, number = [], 0
    while (name := _library.LIBRARY.qstep_codec_name(number)) is not None:
        names.append(name.decode())
        number += 1
    return tuple(names)


def _as_numpy(array, what):
    """A NumPy array of the same memory where that is possible; of any strides."""
    if not isinstance(array, np.ndarray):
        if not hasattr(array, "__dlpack__"):
            raise TypeError(f"{what} is a NumPy array or has __dlpack__; this is a {type(array).__name__}")
        kind, number = map(int, array.__dlpack_device__())
        if kind not in _HOST_DEVICES:
            raise ValueError(f"{what} lies on the device {_DEVICE_NAMES.get(kind, f'of DLPack type {kind}')}:{number}; "
                             "codecs take arrays in the memory of the host, so copy it there first")
        try:
            array = np.from_dlpack(array)
        except (BufferError, RuntimeError, TypeError) as error:
            raise TypeError(f"{what} cannot be had as a NumPy array: {error}") from None
    if array.dtype != np.float32:
        raise TypeError(f"{what} holds {array.dtype}; codecs take float32")
    return array


def _in_place(array, what, like):
    """An array that the library may write to; its elements are those of `like`, one by one."""
    if not isinstance(array, np.ndarray) or array.dtype != np.float32:
        raise TypeError(f"{what} is a NumPy array of float32, because it is written to")
    if array.shape != like.shape:
        raise ValueError(f"{what} has the shape {array.shape}; the array to quantize has {like.shape}")
    if not (array.flags.c_contiguous and array.flags.writeable and array.flags.aligned):
        raise ValueError(f"{what} must be contiguous in C order, aligned and writeable")
    return array


def _integer(value, what, bits=64):
    """As an int; ctypes would cut off what does not fit."""
    number = operator.index(value)
    if not -(2 ** (bits - 1)) <= number < 2 ** (bits - 1):
        raise ValueError(f"{what} is a whole number of at most {2 ** (bits - 1) - 1}, not {number}")
    return number


def _text(value):
    """A name or value as C has it."""
    text = str(value).lower() if isinstance(value, (bool, np.bool_)) else str(value)
    if "\0" in text:
        raise ValueError(f"no option of a codec holds a null character, as {text!r} does")
    return text.encode()


def _address(array):
    return None if array is None else array.ctypes.data


class Codec:
    """A codec by name and its options: those of `quantize --help`, with underscores.

    Beside levels, bucket_size, rounding, solver, smart_candidates, points, qsgd_norm, fixed_il, fixed_fl,
    error_feedback, ef_alpha and ef_beta these are seed, threads, device and entropy_coding (bindings/c/qstep.h).
    """

    def __init__(self, quant, **options):
        given = {"quant": quant, **options}
        pairs = (_library.Option * len(given))()
        for pair, (name, value) in zip(pairs, given.items()):
            pair.name, pair.value = _text(name.replace("_", "-")), _text(value)
        handle = ctypes.c_void_p()
        _library.call("qstep_codec_create", pairs, len(pairs), ctypes.byref(handle))
        self._handle = handle
        self._again = functools.partial(type(self), quant, **options)
        self._text = ", ".join([repr(quant)] + [f"{name}={value!r}" for name, value in options.items()])
        weakref.finalize(self, _library.LIBRARY.qstep_codec_destroy, handle)

    def __reduce__(self):
        # The library's codec belongs to one object and one process: copies and what is unpickled make their own.
        return self._again, ()

    def __repr__(self):
        return f"qstep.Codec({self._text})"

    def quantize(self, array, step=0, *, residual=None, out=None, return_variance=False):
        """The level of each element, in a new array of the same shape or in `out`.

        step: keys the random numbers that rounding takes; another step, other draws. residual, with error_feedback
        alone: float32 of the same shape, zeros before the first step, changed by every step. out: may be `array`
        itself, but for error_feedback. return_variance: also return the sum of (x-l)(r-x), what rounding adds.
        """
        source, held = self._source(array, residual)
        out = np.empty(source.shape, np.float32) if out is None else _in_place(out, "out", source)
        variance = ctypes.c_double()
        _library.call("qstep_quantize", self._handle, _address(source), source.size, _integer(step, "a step"),
                      _address(held), _address(out), ctypes.byref(variance))
        return (out, variance.value) if return_variance else out

    def encode(self, array, step=0, *, residual=None, return_variance=False):
        """The same as a packed stream, which quantize --decode and decode() read."""
        source, held = self._source(array, residual)
        room, written, variance = ctypes.c_int64(), ctypes.c_int64(), ctypes.c_double()
        _library.call("qstep_stream_bytes", self._handle, source.size, ctypes.byref(room))
        stream = np.empty(room.value, np.uint8)
        _library.call("qstep_encode", self._handle, _address(source), source.size, _integer(step, "a step"),
                      _address(held), _address(stream), room, ctypes.byref(written), ctypes.byref(variance))
        stream = stream[: written.value].tobytes()
        return (stream, variance.value) if return_variance else stream

    @staticmethod
    def _source(array, residual):
        source = _as_numpy(array, "the array to quantize")
        held = None if residual is None else _in_place(residual, "residual", source)
        # For what has strides of its own, a copy in C order.
        return np.require(source, requirements=["C", "A"]), held


def decode(stream, threads=0):
    """The array that a stream stands for, as one axis. stream: bytes or whatever has a buffer of bytes."""
    data = np.frombuffer(stream, np.uint8)
    count = ctypes.c_int64()
    _library.call("qstep_stream_elements", _address(data), data.size, ctypes.byref(count))
    out = np.empty(count.value, np.float32)
    _library.call("qstep_decode", _address(data), data.size, _integer(threads, "threads", 32), _address(out), out.size)
    return out
