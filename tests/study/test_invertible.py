"""Sentences on invertibility: which table they are from, and the coarsest training that keeps an inverse."""

from __future__ import annotations

from dataclasses import replace

import pytest

from experiments.study.page import invertible, questions
from experiments.study.page.invertible import bound, coarsest_rows, coarsest_training
from pynode.errors import UnknownName, UsageError
from pynode.studies.results import Results
from tests.studies.invertibility.test_by_training import RECORDS, record, results

GRID = [
    replace(record("other", 2, error, nll=2.0), scheme="rk38", setting=steps)
    for steps, error in ((4.0, 1.0), (6.0, 1e-4))
]
"""A flow used with 4 and with 6 steps."""


def publish(monkeypatch: pytest.MonkeyPatch, part: Results | None) -> None:
    """Makes `part` what every folder holds."""
    for module in (invertible, questions):
        monkeypatch.setattr(module, "runs_of", lambda _: part)


def test_the_coarsest_training_that_keeps_an_inverse_by_dopri5(monkeypatch: pytest.MonkeyPatch) -> None:
    """From two steps on for every seed by dopri5; as trained, one of the seeds misses it with two."""
    publish(monkeypatch, results(*RECORDS))
    assert bound("flows") == "1e-3"
    assert coarsest_training("flows") == "2"
    assert coarsest_training("flows", "training") == "8"
    with pytest.raises(UnknownName, match="unknown use of a flow 'dopri5'"):
        coarsest_training("flows", "dopri5")


def test_no_training_keeps_an_inverse(monkeypatch: pytest.MonkeyPatch) -> None:
    publish(monkeypatch, results(record("evaluation", 1, 1.0), record("evaluation", 2, None)))
    assert coarsest_training("flows") == "none"
    publish(monkeypatch, None)
    with pytest.raises(UsageError, match="flows was not re-discretised"):
        coarsest_training("flows")
    publish(monkeypatch, results(*GRID))
    with pytest.raises(UsageError, match="0 families of flows trained with steps"):
        coarsest_training("flows")


def test_the_table_of_coarsest_uses_is_not_that_of_trainings(monkeypatch: pytest.MonkeyPatch) -> None:
    """A folder may have both, or the trainings alone."""
    assert coarsest_rows(results(*RECORDS)) == []
    both = results(*RECORDS, *GRID)
    (row,) = coarsest_rows(both)
    assert row[:4] == ["disc-opt rk38 x 2", "rk38", "6 steps", "T / 6"]
    publish(monkeypatch, both)
    monkeypatch.setattr(questions, "folders", lambda: ["flows"])
    head, _, *rows = questions.invertibility().splitlines()
    assert len(rows) == 1
    assert head.count("|") == rows[0].count("|")
    publish(monkeypatch, results(*RECORDS))
    assert questions.invertibility() == "No record yet."
