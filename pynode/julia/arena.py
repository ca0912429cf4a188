"""The arena: one memory-mapped file that this process and the worker share; the arrays of a request lie in it.

Byte 0 is the cancel flag: the parent sets it to stop a solve.  Arrays begin at multiples of 64 bytes from byte 64 on.
The file is deleted as soon as both sides have mapped it, so that no file is left if either process is killed.
"""

from __future__ import annotations

import contextlib
import math
import mmap
import os
import tempfile
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, NamedTuple, TypeAlias

import numpy as np
import numpy.typing as npt

from pynode.errors import InvalidArgument
from pynode.julia.errors import WorkerError

Array: TypeAlias = npt.NDArray[Any]

ALIGNMENT = 64
DTYPES = {name: np.dtype(name) for name in ("float64", "float32", "int64", "uint8")}
MOST_AXES = 8
SHARED_MEMORY = Path("/dev/shm")


class BadPlace(ValueError):
    """A description of an array that does not fit the arena."""


class Place(NamedTuple):
    """Where an array lies in the arena: C order, `offset` in bytes."""

    offset: int
    shape: tuple[int, ...]
    dtype: str

    @property
    def end(self) -> int:
        """First byte behind the array."""
        return self.offset + math.prod(self.shape) * DTYPES[self.dtype].itemsize

    @classmethod
    def from_json(cls, data: Any, size: int) -> Place:
        """The place that the other side described, in an arena of `size` bytes; raises `BadPlace`."""
        match data:
            case [int(offset), [*shape], str(dtype)]:
                if dtype not in DTYPES:
                    raise BadPlace(f"dtype {dtype!r}")
                if len(shape) > MOST_AXES or not all(type(n) is int and n >= 0 for n in shape):
                    raise BadPlace(f"shape {shape!r}")
                place = cls(offset, tuple(shape), dtype)
                if offset < ALIGNMENT or offset % ALIGNMENT or place.end > size:
                    raise BadPlace(f"bytes {offset} to {place.end} in an arena of {size}")
                return place
        raise BadPlace(f"{data!r}")


def lay_out(wanted: Mapping[str, tuple[tuple[int, ...], np.dtype[Any]]]) -> tuple[dict[str, Place], int]:
    """Places for arrays of the given shapes and dtypes, one behind the other, and the bytes needed in all."""
    places: dict[str, Place] = {}
    end = ALIGNMENT
    for name, (shape, dtype) in wanted.items():
        places[name] = Place(end, shape, dtype.name)
        end = -(-places[name].end // ALIGNMENT) * ALIGNMENT
    return places, end


def check_disjoint(places: Iterable[Place]) -> None:
    """Raises `BadPlace` where two arrays overlap."""
    end = 0
    for place in sorted(places):
        if place.offset < end and place.end > place.offset:
            raise BadPlace(f"bytes {place.offset} to {place.end} belong to two arrays")
        end = max(end, place.end)


def checked_layout(argument: str, shape: Iterable[int], dtype: object) -> tuple[tuple[int, ...], np.dtype[Any]]:
    """Shape and dtype of an array that can be passed; raises `InvalidArgument`."""
    dims, kind = tuple(int(n) for n in shape), np.dtype(dtype)  # type: ignore[call-overload]
    if kind.name not in DTYPES:
        raise InvalidArgument(argument, kind, "not a dtype that Julia accepts", f"convert to one of {list(DTYPES)}")
    if len(dims) > MOST_AXES or any(n < 0 for n in dims):
        raise InvalidArgument(argument, dims, "not a shape that Julia accepts", f"use at most {MOST_AXES} axes")
    return dims, DTYPES[kind.name]


class Arena:
    """A mapped file of `size` bytes at `path`."""

    def __init__(self, path: Path, size: int, descriptor: int) -> None:
        self.path, self.size = path, size
        self._bytes = np.frombuffer(mmap.mmap(descriptor, size), dtype=np.uint8)

    @classmethod
    def create(cls, size: int) -> Arena:
        """A new file, in memory where the system has such a folder; raises `WorkerError` where there is no room."""
        problem: OSError | None = None
        for folder in (SHARED_MEMORY, Path(tempfile.gettempdir())):
            if not os.access(folder, os.W_OK):
                continue
            descriptor, name = tempfile.mkstemp(prefix=f"pynode-{os.getpid()}-", dir=folder)
            try:
                os.ftruncate(descriptor, size)
                if hasattr(os, "posix_fallocate"):  # a full memory disk must be noticed now, not by a bus error later
                    os.posix_fallocate(descriptor, 0, size)
                return cls(Path(name), size, descriptor)
            except OSError as error:
                problem = error
                with contextlib.suppress(OSError):
                    os.unlink(name)
            finally:
                os.close(descriptor)
        raise WorkerError(
            f"no room for {size:,} bytes that are shared with Julia ({problem}); free some in {SHARED_MEMORY} or "
            f"{tempfile.gettempdir()}, or take smaller batches"
        )

    @classmethod
    def attach(cls, path: str, size: int) -> Arena:
        """The arena that the other side created; its file is deleted now that both have it (where that is possible)."""
        descriptor = os.open(path, os.O_RDWR | getattr(os, "O_BINARY", 0))
        try:
            if os.fstat(descriptor).st_size != size:
                raise BadPlace(f"{path} has not the {size} bytes that were promised")
            arena = cls(Path(path), size, descriptor)
        finally:
            os.close(descriptor)
        arena.unlink()
        return arena

    def unlink(self) -> None:
        """Deletes the file; the memory stays as long as it is used."""
        with contextlib.suppress(OSError):  # gone already, or a system that keeps files in use
            self.path.unlink()

    def view(self, place: Place) -> Array:
        """The array at `place`, without a copy."""
        return self._bytes[place.offset : place.end].view(DTYPES[place.dtype]).reshape(place.shape)

    @property
    def cancel(self) -> npt.NDArray[np.uint8]:
        """The cancel flag, `(1,)`: not zero = stop."""
        return self._bytes[:1]
