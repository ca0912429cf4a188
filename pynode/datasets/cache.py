"""The data sets by name: fetched or imported, preprocessed once, then memory-mapped from a cache folder.

The root is the argument `root`, else the environment variable PYNODE_DATA, else `pynode` in XDG_CACHE_HOME or
`~/.cache`.  `ROOT/NAME/` holds a `.npy` file for each part and `manifest.json` with rows, columns, size and SHA-256 of
each, the files that the rows were read from, and whether they are as many as were published; the folder is made
elsewhere and renamed when complete.  The archive stays at `ROOT/data.tar.gz`.  Other files in `ROOT/NAME/` are the
user's, and a set takes their place on request only.
"""

from __future__ import annotations

import json
import os
import shutil
import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from pynode.datasets.download import Progress, download
from pynode.datasets.errors import CacheError, DataError, DataExists, DataMissing
from pynode.datasets.extract import extract, whole_folder
from pynode.datasets.provenance import Provenance, SourceFile
from pynode.datasets.raw import load_array
from pynode.datasets.raw_files import RAW_SETS, Prepared, find, prepare
from pynode.datasets.sources import FOLDERS, MAF_ARCHIVE, Source, file_digest
from pynode.datasets.splits import PARTS, Array, Splits
from pynode.errors import UnknownName
from pynode.wording import COMMAND

NAMES = tuple(RAW_SETS)
MANIFEST = "manifest.json"
FORMAT = 1

OWN = frozenset((MANIFEST, *(f"{part}.npy" for part in PARTS)))
"""The files of a set."""

STALE = 24 * 3600.0
"""Seconds after which a half-made folder is that of a process that was killed."""


def data_root(root: Path | str | None = None) -> Path:
    """The folder of all data: `root`, else as the module says."""
    if root is None:
        caches = os.environ.get("XDG_CACHE_HOME") or "~/.cache"
        root = os.environ.get("PYNODE_DATA") or Path(caches) / "pynode"
    return Path(root).expanduser()


def available(name: str, root: Path | str | None = None) -> bool:
    """Whether `dataset(name, root)` would find its files; raises `UnknownName`."""
    try:
        dataset(name, root)
    except (DataMissing, CacheError):
        return False
    return True


def dataset(name: str, root: Path | str | None = None, *, verify: bool = False) -> Splits:
    """The splits of the data set `name` as memory-mapped, read-only float32 arrays `(rows, dim)`.

    `verify` reads all bytes and compares their SHA-256; sizes are always compared.  Raises `UnknownName`, `DataMissing`
    where it was not fetched yet, `CacheError` where its files are damaged or can't be read.
    """
    if name not in NAMES:
        raise UnknownName("data set", name, NAMES)
    folder = data_root(root) / name
    manifest = folder / MANIFEST
    if not _is_there(folder):
        raise DataMissing(_how_to_get(name, data_root(root)))
    try:
        written = json.loads(manifest.read_text(encoding="utf-8"))
        if written["format"] != FORMAT:
            raise ValueError(f"it has the format {written['format']} instead of {FORMAT}")
        parts = [_part(folder, part, written["parts"][part], verify) for part in PARTS]
        mean, std = (None if written[k] is None else np.array(written[k], dtype=np.float64) for k in ("mean", "std"))
        provenance = _provenance(name, written)
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise CacheError(
            f"{folder} is damaged: {error}; rebuild it: {COMMAND} data fetch {name}, "
            f"or data import {name} --from PATH --replace"
        ) from error
    train, validation, test = parts
    return Splits(name, train, validation, test, mean=mean, std=std, provenance=provenance)


def fetch(
    name: str,
    root: Path | str | None = None,
    progress: Progress | None = None,
    *,
    sha256: str | None = None,
    source: Source = MAF_ARCHIVE,
    replace: bool = False,
) -> Splits:
    """`dataset(name, root)`, after downloading, unpacking and preprocessing what of it is not there or is damaged.

    `progress(done_bytes, total_bytes)` follows the download; `sha256` is demanded of the archive beside its published
    digest.  An archive put at `ROOT/data.tar.gz` by hand is checked and used.  With `replace` the set is made from the
    archive also where one of as many rows is there.  Raises `DataExists` where there are other rows, or files that are
    no set, unless `replace`; `UnknownName`, `DownloadError`, `ArchiveError`, `DataError`, `PackageMissing`, and
    `CacheError` where nothing can be written.
    """
    if name not in NAMES:
        raise UnknownName("data set", name, NAMES)
    top = data_root(root)
    _tidy(top / name)
    try:
        there = dataset(name, root, verify=True)
    except (DataMissing, CacheError):
        pass
    else:
        if not replace:
            if _shape(there) == source.shapes.get(name, _shape(there)):
                return there
            raise DataExists(
                f"{top / name} holds other rows than the published ones ({extent(there)}); to fetch the published set "
                f"in their place: {COMMAND} data fetch {name} --replace"
            )
    _check_own(top / name, replace=replace)
    archive = download(
        source.url,
        top / source.file_name,
        digest=source.digest,
        size=source.size,
        sha256=sha256,
        progress=progress,
    )
    # unpacked each time: unpacked files can't be checked, but the archive just was
    raw = top / f".{name}.raw-{os.getpid()}"
    shutil.rmtree(raw, ignore_errors=True)
    try:
        splits = prepare(name, extract(archive, raw, prefix=FOLDERS[name])).splits
        _check_shape(splits, source)
        store(splits, top)
    finally:
        shutil.rmtree(raw, ignore_errors=True)
    return dataset(name, root)


def import_set(name: str, path: Path, root: Path | str | None = None, *, replace: bool = False) -> Prepared:
    """The set `name`, whole or a part, made from the file or folder `path` of its user and put into the cache.

    Raises `UnknownName`; `DataExists` where a set of this name is there, or files that are no set, unless `replace`,
    and where the file to read is one of those; `DataMissing`, `DataError` and `PackageMissing` for the files;
    `CacheError` where nothing can be written.  What is there stays until the new rows have been read.
    """
    if name not in NAMES:
        raise UnknownName("data set", name, NAMES)
    top = data_root(root)
    _tidy(top / name)
    if _is_there(top / name) and not replace:
        raise DataExists(
            f"{top / name} holds the data set '{name}' already; add --replace to put the rows of {path} in its place, "
            "or choose another --root"
        )
    if (file := find(name, path)).resolve().is_relative_to((top / name).resolve()):
        raise DataExists(
            f"{file} lies in {top / name}, where the set is to be stored in place of all that is there; move the file "
            "to another folder, or choose another --root"
        )
    _check_own(top / name, replace=replace)
    prepared = prepare(name, path)
    store(prepared.splits, top)
    return Prepared(dataset(name, top), prepared.left_out)


def _is_there(folder: Path) -> bool:
    """Whether a data set is in `folder`; raises `CacheError` where this user may not look into it."""
    try:
        return (folder / MANIFEST).is_file()
    except OSError as error:
        raise CacheError(f"{folder} can't be read ({error.strerror}); set PYNODE_DATA to another folder") from error


def _check_own(folder: Path, *, replace: bool) -> None:
    """Raises `DataExists` where there are files in `folder` that pynode did not put there, unless `replace`."""
    try:
        names = sorted(entry.name for entry in folder.iterdir())
    except (FileNotFoundError, NotADirectoryError):
        names = [folder.name] if os.path.lexists(folder) else []
    except OSError as error:
        raise CacheError(f"{folder} can't be read ({error.strerror}); set PYNODE_DATA to another folder") from error
    others = [name for name in names if name not in OWN] if MANIFEST in names else names
    if others and not replace:
        raise DataExists(
            f"{folder} holds files that are no data set of pynode ({', '.join(others[:3])}"
            f"{', ...' if len(others) > 3 else ''}); move them to another folder, or choose another --root "
            "(--replace deletes them)"
        )


def _tidy(target: Path) -> None:
    """Puts back the set that a killed process had moved aside, and removes what such processes left half-made."""
    with suppress(OSError):
        for moved in _beside(target, "replaced"):
            _settle(moved, target)
        for made in (*_beside(target, "unfinished"), *_beside(target, "raw")):
            if time.time() - made.stat().st_mtime > STALE:
                shutil.rmtree(made, ignore_errors=True)


def _beside(target: Path, kind: str) -> list[Path]:
    """The hidden folders of this kind beside `target`, of all processes."""
    return sorted(target.parent.glob(f".{target.name}.{kind}-*"))


def _settle(moved: Path, target: Path) -> None:
    """Removes what was moved aside from `target` where a set has taken its place, else puts it back."""
    with suppress(OSError):
        if not (target / MANIFEST).is_file():
            if not os.path.lexists(target):
                moved.rename(target)
        elif moved.is_dir() and not moved.is_symlink():
            shutil.rmtree(moved, ignore_errors=True)
        else:
            moved.unlink(missing_ok=True)


def store(splits: Splits, root: Path) -> None:
    """Writes `splits` to `root/NAME`, in place of what is there; raises `CacheError` where that can't be done.

    What is there stays until all is written.
    """
    target = root / splits.name
    _tidy(target)
    replaced = target.with_name(f".{splits.name}.replaced-{os.getpid()}")
    try:
        with whole_folder(target) as folder:
            parts = {part: _write(folder / f"{part}.npy", getattr(splits, part)) for part in PARTS}
            published = published_rows(splits.name)
            manifest = {
                "format": FORMAT,
                "name": splits.name,
                "parts": parts,
                "published_rows": published,
                "whole": published == {part: parts[part]["rows"] for part in PARTS},
                "sources": [] if splits.provenance is None else [asdict(file) for file in splits.provenance.sources],
                "mean": None if splits.mean is None else splits.mean.tolist(),
                "std": None if splits.std is None else splits.std.tolist(),
            }
            (folder / MANIFEST).write_text(json.dumps(manifest, indent=1, allow_nan=False) + "\n", encoding="utf-8")
            with suppress(FileNotFoundError):
                target.rename(replaced)
    except OSError as error:
        raise CacheError(
            f"can't write the data set '{splits.name}' to {target}: {error}; "
            "free space there or set PYNODE_DATA to another folder"
        ) from error
    finally:
        _settle(replaced, target)


def _write(path: Path, rows: Array) -> dict[str, Any]:
    with path.open("wb") as file:
        np.save(file, np.ascontiguousarray(rows, dtype=np.float32), allow_pickle=False)
        file.flush()
        os.fsync(file.fileno())
    return {
        "rows": len(rows),
        "dim": int(rows.shape[1]),
        "bytes": path.stat().st_size,
        "sha256": file_digest(path).hexadecimal,
    }


def _part(folder: Path, part: str, written: Mapping[str, Any], verify: bool) -> Array:
    """One memory-mapped part; raises `ValueError` or `OSError` where it is not as the manifest says."""
    path = folder / f"{part}.npy"
    if (size := path.stat().st_size) != written["bytes"]:
        raise ValueError(f"{path.name} has {size} bytes instead of {written['bytes']}")
    if verify and (actual := file_digest(path).hexadecimal) != written["sha256"]:
        raise ValueError(f"{path.name} has the SHA-256 {actual} instead of {written['sha256']}")
    rows = load_array(path, mapped=True)
    if rows.shape != (written["rows"], written["dim"]):
        raise ValueError(f"{path.name} has shape {rows.shape} instead of ({written['rows']}, {written['dim']})")
    return rows


def published_rows(name: str) -> dict[str, int]:
    """The published rows of the data set `name` by part."""
    return dict(zip(PARTS, MAF_ARCHIVE.shapes[name][1:], strict=True))


def _provenance(name: str, written: Mapping[str, Any]) -> Provenance:
    """What a manifest says of where the rows come from; older ones name no sources."""
    rows = {part: int(written["parts"][part]["rows"]) for part in PARTS}
    digests = {part: str(written["parts"][part]["sha256"]) for part in PARTS}
    sources = tuple(SourceFile(file["name"], file["bytes"], file["sha256"]) for file in written.get("sources", ()))
    return Provenance(rows, published_rows(name), digests, sources)


def _check_shape(splits: Splits, source: Source) -> None:
    shape = _shape(splits)
    expected = source.shapes.get(splits.name, shape)
    if shape != expected:
        raise DataError(
            f"{splits.name} has (columns, training, validation, test rows) = {shape} instead of {expected}: "
            f"{source.file_name} or a library that reads it is not as expected; please report it"
        )


def _shape(splits: Splits) -> tuple[int, ...]:
    return (splits.dim, *(len(getattr(splits, part)) for part in PARTS))


def extent(splits: Splits) -> str:
    """How much of the published set a stored one is, in words; see `Provenance.extent`."""
    return "" if splits.provenance is None else splits.provenance.extent


def _how_to_get(name: str, root: Path) -> str:
    return (
        f"the data set '{name}' is not in {root}; run: {COMMAND} data fetch {name} "
        f"(or first download {MAF_ARCHIVE.url}, {MAF_ARCHIVE.about}, by hand and put it at "
        f"{root / MAF_ARCHIVE.file_name}); or, with its files at hand: {COMMAND} data import {name} "
        "--from PATH"
    )
