"""The shared library of bindings/c/qstep.h through ctypes."""
import ctypes
import os
import pathlib

_API_VERSION = 1
_INVALID = 1  # qstep_status

_FLOATS, _BYTES, _HANDLE = ctypes.c_void_p, ctypes.c_void_p, ctypes.c_void_p
_COUNT, _DOUBLE_AT, _COUNT_AT = ctypes.c_int64, ctypes.POINTER(ctypes.c_double), ctypes.POINTER(ctypes.c_int64)


class Option(ctypes.Structure):
    _fields_ = [("name", ctypes.c_char_p), ("value", ctypes.c_char_p)]


_FUNCTIONS = {
    "qstep_codec_create": [ctypes.POINTER(Option), ctypes.c_size_t, ctypes.POINTER(_HANDLE)],
    "qstep_quantize": [_HANDLE, _FLOATS, _COUNT, _COUNT, _FLOATS, _FLOATS, _DOUBLE_AT],
    "qstep_stream_bytes": [_HANDLE, _COUNT, _COUNT_AT],
    "qstep_encode": [_HANDLE, _FLOATS, _COUNT, _COUNT, _FLOATS, _BYTES, _COUNT, _COUNT_AT, _DOUBLE_AT],
    "qstep_stream_elements": [_BYTES, _COUNT, _COUNT_AT],
    "qstep_decode": [_BYTES, _COUNT, ctypes.c_int, _FLOATS, _COUNT],
}


def _load():
    # The variable is for trying a library that is not installed.
    path = os.environ.get("QSTEP_LIBRARY") or pathlib.Path(__file__).with_name("libqstep.so")
    try:
        library = ctypes.CDLL(str(path))
    except OSError as error:
        raise ImportError(f"cannot load the library of codecs, which `pip install` of the source tree builds: {error}"
                          ) from None
    if library.qstep_api_version() != _API_VERSION:
        raise ImportError(f"{path} has version {library.qstep_api_version()} of the interface; this module needs "
                          f"version {_API_VERSION}")
    for name, arguments in _FUNCTIONS.items():
        getattr(library, name).argtypes = arguments
    for name in ("qstep_version", "qstep_last_error", "qstep_codec_name"):
        getattr(library, name).restype = ctypes.c_char_p
    library.qstep_codec_destroy.argtypes = [_HANDLE]
    library.qstep_codec_destroy.restype = None
    return library


LIBRARY = _load()


def call(name, *arguments):
    """Raises ValueError where the arguments make no sense, RuntimeError where something else failed."""
    status = getattr(LIBRARY, name)(*arguments)
    if status:
        kind = ValueError if status == _INVALID else RuntimeError
        raise kind(LIBRARY.qstep_last_error().decode())
