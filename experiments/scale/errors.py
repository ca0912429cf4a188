"""Errors that a user of the cost model can meet."""

from __future__ import annotations

from pynode.errors import RunFailure, UsageError


class NoCostModel(UsageError):
    """A directory holds no records of the cost model."""


class NoRecordsOfRuns(UsageError):
    """The published records that the numbers of evaluations are taken from are not there."""


class CellFailure(RunFailure):
    """A cell that was run to check the model broke down."""
