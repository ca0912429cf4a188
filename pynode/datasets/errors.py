"""What can go wrong with data: a user's table, a data set that is not there, a download, an archive, a cache."""

from __future__ import annotations

import importlib
from typing import Any

from pynode.errors import RunFailure, UsageError


class DataError(UsageError):
    """Data that can't be used as they are: a table with text or NaN, a file of another format than expected."""


class DataMissing(UsageError):
    """A data set is not on this machine; the message says how to fetch it and where to put it by hand."""


class DataExists(UsageError):
    """A data set is there already, and would be replaced."""


class TableMissing(UsageError):
    """A problem that reads a user's table was not given one."""


class DownloadError(RunFailure):
    """A file could not be fetched, or what arrived is not the published file."""


class ArchiveError(RunFailure):
    """An archive is cut short, damaged, or holds something that must not be unpacked."""


class CacheError(RunFailure):
    """The prepared arrays on disk are damaged or can't be written."""


class PackageMissing(UsageError):
    """A data set needs a package that is not installed."""

    def __init__(self, package: str, need: str) -> None:
        super().__init__(f"{need} needs the package {package}, which is not installed; run: pip install {package}")


def optional(module: str, package: str, need: str) -> Any:
    """The module `module` of `package`; raises `PackageMissing`, which says what `need` is and how to install it."""
    try:
        return importlib.import_module(module)
    except ImportError as error:
        raise PackageMissing(package, need) from error
