"""Errors that a user of the benchmarks can meet."""

from __future__ import annotations

from pynode.errors import RunFailure, UsageError


class NoGpu(UsageError):
    """The suite `gpu` was asked for where there is none."""


class NoBenchmark(UsageError):
    """A directory holds no records of a benchmark."""


class EntrantFailure(RunFailure):
    """An entrant's process broke down, or did not answer."""
