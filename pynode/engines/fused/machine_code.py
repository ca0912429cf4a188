"""Machine code on disk: a file of its own for each kernel, types of its arguments and processor.

Numba numbers the files of a function and keeps an index of them.  Two processes that save at the same time, one the
code for float32 and one that for float64, may each take the same number; the index then leads to code for other
arguments, which crashes or computes something else.  Here a file's name follows from what it is for, and the file
says so again, with a digest of the rest: what does not fit is compiled again.
"""

from __future__ import annotations

import hashlib
import os
import pickle
import uuid
from contextlib import suppress
from pathlib import Path
from typing import Any

import numba
from numba.core.caching import FunctionCache
from numba.core.serialize import dumps

DIGEST_BYTES = hashlib.sha256().digest_size


class KernelCache(FunctionCache):
    """The code of one function, for all types of its arguments; raises RuntimeError where no folder can be written."""

    def __init__(self, function: Any) -> None:
        super().__init__(function)
        stamp = self._impl.locator.get_source_stamp()
        files = CodeFiles(Path(self._cache_path), self._impl.filename_base, stamp)
        self._cache_file = files  # type: ignore[assignment]

    def save_overload(self, sig: Any, data: Any) -> None:
        """Keeps the code where there is room for it; it can be used without."""
        with suppress(OSError):
            super().save_overload(sig, data)


class CodeFiles:
    """What Numba's cache keeps code in, by keys that Numba makes: types, processor, the function's byte code."""

    def __init__(self, folder: Path, name: str, stamp: Any) -> None:
        self._folder, self._name, self._stamp = folder, name, stamp

    def path(self, key: Any) -> Path:
        """The file for this key."""
        told = hashlib.sha256(repr((numba.__version__, key)).encode()).hexdigest()[:16]
        return self._folder / f"{self._name}.{told}.nbc"

    def save(self, key: Any, data: Any) -> None:
        """Writes the file, at once or not at all: another process may read it meanwhile, or write the same."""
        content = dumps((self._label(key), data))
        path = self.path(key)
        partial = path.with_name(f"{path.stem}.{uuid.uuid4().hex[:16]}.nbc")
        try:
            partial.write_bytes(hashlib.sha256(content).digest() + content)
            os.replace(partial, path)
        except BaseException:
            with suppress(OSError):
                partial.unlink()
            raise

    def load(self, key: Any) -> Any:
        """What was saved for this key; None where there is nothing, or it is damaged or stale."""
        try:
            whole = self.path(key).read_bytes()
        except OSError:
            return None
        digest, content = whole[:DIGEST_BYTES], whole[DIGEST_BYTES:]
        if hashlib.sha256(content).digest() != digest:
            return None
        label, data = pickle.loads(content)
        return data if label == self._label(key) else None

    def flush(self) -> None:
        """Removes the files of this function."""
        for path in self._folder.glob(f"{self._name}.*.nbc"):
            path.unlink(missing_ok=True)

    def _label(self, key: Any) -> tuple[Any, ...]:
        return numba.__version__, self._stamp, key
