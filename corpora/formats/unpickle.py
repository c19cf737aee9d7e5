"""Reading an untrusted pickle without running code that it names.

A pickle names functions that its reader calls. Here it may name only those that NumPy writes arrays with, and even
these are replaced by the classes below: NumPy's own trust their input and can be made to overwrite memory.
"""

import io
import pickle
import re
from pathlib import Path
from typing import Any

import numpy as np

_PLAIN_DTYPE = re.compile(r"[biuf][1248]")
_NUMPY_MODULES = (
    "numpy",
    "numpy.core.multiarray",
    "numpy._core.multiarray",
    "numpy.core.numeric",
    "numpy._core.numeric",
)


class UnsafePickleError(pickle.UnpicklingError):
    """The pickle names something that is not allowed."""


class PickledArray:
    """An array of a pickle: `values` is a NumPy array of numbers, and does not change what the pickle was read from."""

    values: np.ndarray = np.empty(0)

    def __setstate__(self, state: Any) -> None:
        _, shape, dtype, is_fortran, data = state
        self.values = _array(data, dtype, shape, "F" if is_fortran else "C")


class _PickledDtype:
    """The type of the numbers in an array."""

    def __init__(self, code: str, *_: object) -> None:
        if not isinstance(code, str) or not _PLAIN_DTYPE.fullmatch(code):
            raise UnsafePickleError(f"an array of type {code!r}; only numbers are read")
        self._code, self._order = code, "<"

    def __setstate__(self, state: Any) -> None:
        order = state[1]
        if order not in ("<", ">", "|", "="):
            raise UnsafePickleError(f"a byte order {order!r}")
        self._order = order

    @property
    def plain(self) -> np.dtype:
        return np.dtype(self._order + self._code)


def read_pickle(file: Path) -> Any:
    """The content of a pickle of plain containers, texts, numbers and NumPy arrays of numbers (as `PickledArray`).

    The file is read into memory whole, because the format has no parts.

    Raises:
        UnsafePickleError: it names anything else; that is not called.
        pickle.UnpicklingError: it is not a pickle, or it is truncated.
        FileNotFoundError: there is no such file.
    """
    with file.open("rb") as content:
        return _load(content)


def _load(content: io.BufferedIOBase) -> Any:
    try:
        return _Unpickler(content, encoding="latin1").load()
    except pickle.UnpicklingError:
        raise
    except OSError as error:
        raise pickle.UnpicklingError(f"cannot be read: {error}") from error
    # Arbitrary bytes can ask for any operation on any value, so a broken pickle can fail in any way.
    except Exception as error:
        raise pickle.UnpicklingError(f"no whole pickle: {type(error).__name__}: {error}") from error


class _Unpickler(pickle._Unpickler):
    """The reader written in Python: the one in C allocates as many memo entries as a number in the file says."""

    def find_class(self, module: str, name: str) -> Any:
        if (module, name) == ("_codecs", "encode"):  # how protocols 0 to 2 write bytes
            return _encode
        if (module, name) == ("collections", "OrderedDict"):
            return dict
        if module in _NUMPY_MODULES and name in _STAND_INS:
            return _STAND_INS[name]
        raise UnsafePickleError(
            f"names {f'{module}.{name}'!r}; only plain containers and NumPy arrays of numbers are read"
        )

    def persistent_load(self, pid: Any) -> Any:
        raise UnsafePickleError(f"refers to something outside ({pid!r})")


def _array(data: Any, dtype: Any, shape: Any, order: Any) -> np.ndarray:
    if not isinstance(dtype, _PickledDtype) or not isinstance(data, (bytes, bytearray, str)):
        raise UnsafePickleError("an array of objects; only numbers are read")
    content = data.encode("latin1") if isinstance(data, str) else data
    # `reshape` compares the shape with the numbers that are there, before anything of that size is allocated.
    return np.frombuffer(content, dtype.plain).reshape(shape, order="F" if order == "F" else "C")


def _reconstruct(kind: Any, *_: object) -> PickledArray:
    if kind is not PickledArray:
        raise UnsafePickleError(f"an array of class {kind!r}")
    return PickledArray()


def _from_buffer(data: Any, dtype: Any, shape: Any, order: Any) -> PickledArray:
    array = PickledArray()
    array.values = _array(data, dtype, shape, order)
    return array


def _scalar(dtype: Any, data: Any) -> Any:
    return _array(data, dtype, (), "C").item()


def _encode(text: Any, encoding: Any) -> bytes:
    if not isinstance(text, str) or encoding not in ("latin1", "latin-1"):
        raise UnsafePickleError(f"encodes {type(text).__name__} as {encoding!r}")
    return text.encode("latin1")


_STAND_INS: dict[str, Any] = {
    "ndarray": PickledArray,
    "dtype": _PickledDtype,
    "_reconstruct": _reconstruct,
    "_frombuffer": _from_buffer,
    "scalar": _scalar,
}
