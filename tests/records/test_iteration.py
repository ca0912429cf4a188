"""What an iteration's record adds up: seconds, evaluations, and which of its fields two equal runs need not share."""

from __future__ import annotations

from dataclasses import asdict, fields

from pynode.records.iteration import TIMED_FIELDS, IterationRecord, is_timed

RECORD = IterationRecord(
    iteration=7,
    loss=1.5,
    best_loss=1.25,
    validation_loss=None,
    gradient_norm=0.5,
    seconds_forward=1.0,
    seconds_backward=2.0,
    seconds_optimiser=4.0,
    nfe_forward=1,
    nfe_backward=2,
    n_vjp_forward=4,
    n_vjp_backward=8,
    n_accepted=16,
    n_rejected=32,
    n_accepted_backward=64,
    n_rejected_backward=128,
    peak_memory_bytes=None,
    seconds_bridge=16.0,
    seconds_exchange=8.0,
)
"""Powers of two: each sum tells what is in it."""


def test_the_seconds_of_an_iteration_are_those_of_its_four_parts() -> None:
    """The bridge's seconds are within forward and backward."""
    assert RECORD.seconds == 1.0 + 2.0 + 4.0 + 8.0


def test_nfe_counts_evaluations_and_not_products() -> None:
    assert RECORD.nfe == 1 + 2
    assert RECORD.evaluations == 1 + 2 + 4 + 8


def test_one_process_and_no_bridge_unless_told() -> None:
    plain = IterationRecord(**{f.name: getattr(RECORD, f.name) for f in fields(RECORD)[:17]})
    assert (plain.seconds_bridge, plain.seconds_exchange, plain.ranks, plain.engine) == (0.0, 0.0, 1, "")
    assert plain.seconds == 7.0
    assert (plain.failure, plain.drift) == (None, None)


def test_all_seconds_are_timed_and_so_is_the_load() -> None:
    seconds = {f.name for f in fields(IterationRecord) if f.name.startswith("seconds_")}
    assert set(TIMED_FIELDS) == {*seconds, "load_average"}
    assert is_timed("training_seconds")
    assert IterationRecord(**{**asdict(RECORD), **dict.fromkeys(TIMED_FIELDS, 0.0)}).seconds == 0
