"""Packages that one data set alone needs: imported when it is asked for."""

from __future__ import annotations

import importlib
from typing import Any

from pynode.datasets.errors import PackageMissing


def optional(module: str, package: str, need: str) -> Any:
    """The module `module` of `package`; raises `PackageMissing`, which says what `need` is and how to install it."""
    try:
        return importlib.import_module(module)
    except ImportError as error:
        raise PackageMissing(package, need) from error
