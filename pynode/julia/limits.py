"""Time limits: how long the worker may take to start and to answer, by argument or by environment variable."""

from __future__ import annotations

import math
import os

from pynode.errors import InvalidArgument

TIMEOUT, START_TIMEOUT = "PYNODE_JULIA_TIMEOUT", "PYNODE_JULIA_START_TIMEOUT"
"""Environment variables with the limits in seconds."""

DEFAULTS = {TIMEOUT: 3600.0, START_TIMEOUT: 900.0}


def checked_limit(argument: str, limit: float | None) -> float | None:
    """`limit` itself; raises `InvalidArgument` unless it is None or positive."""
    if limit is not None and not (isinstance(limit, (int, float)) and limit > 0):
        raise InvalidArgument(argument, limit, "not a time limit", "give seconds, more than 0")
    return limit


def limit_from(variable: str) -> float:
    """The limit that the environment variable sets, else its default; raises `InvalidArgument`."""
    text = os.environ.get(variable, "")
    if not text:
        return DEFAULTS[variable]
    try:
        limit = float(text)
    except ValueError:
        limit = math.nan
    if not limit > 0:
        raise InvalidArgument(variable, text, "not a time limit", "set it to seconds, more than 0")
    return limit
