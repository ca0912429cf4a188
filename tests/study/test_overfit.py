"""Training loss against validation loss: moments of runs whose losses are known, and what is said of them."""

from __future__ import annotations

from dataclasses import replace

import pytest

from experiments.study.page import overfit
from experiments.study.page.overfit import VALUES, Moment, best, end, moments
from pynode.errors import UnknownName
from pynode.records.runs import Run
from tests.studies.reduction.test_study import run
from tests.study.made_up import compared_in

TRAINED = (10.0, 6.0, 2.0, 3.0, 1.0)


def fitted(method: str = "disc-opt", seed: int = 0, more: float = 0.0) -> Run:
    """Validated every other iteration; the loss of the batches goes on falling."""
    made = run(method, [8.0, None, 4.0, None, 6.0 + more], seconds=1.0, nfe=1, seed=seed)
    records = [replace(record, loss=loss) for record, loss in zip(made.records, TRAINED, strict=True)]
    return replace(made, records=records)


def test_training_losses_are_means_since_the_validation_before() -> None:
    assert moments(fitted()) == [Moment(0, 10.0, 8.0), Moment(2, 4.0, 4.0), Moment(4, 2.0, 6.0)]
    assert best(fitted()) == Moment(2, 4.0, 4.0)
    assert end(fitted()) == Moment(4, 2.0, 6.0)
    assert Moment(4, 2.0, 6.0).gap == 4
    assert Moment(4, None, 6.0).gap is None
    assert end(run("disc-opt", [None, None], seconds=1.0, nfe=1)) is None


def test_sentences_have_medians_over_seeds(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(overfit, "seeds_of", lambda *_: [fitted(), fitted(seed=1, more=1.0)])
    assert VALUES["overfit"]("miniboone", "disc-opt", "end") == "4.5 (4 to 5)"
    with pytest.raises(UnknownName, match="unknown moment of a run 'last'"):
        VALUES["overfit"]("miniboone", "disc-opt", "last")


def test_the_table_has_a_row_for_each_method(monkeypatch: pytest.MonkeyPatch) -> None:
    disc, opt = fitted(), fitted("opt-disc")
    made = compared_in("miniboone", opt, disc)
    monkeypatch.setattr(overfit, "compared", lambda _: (made,))
    monkeypatch.setattr(overfit, "runs_in", lambda _: ([disc], [opt]))
    head, _, *rows = overfit.overfit("miniboone").splitlines()
    assert head.count("|") == rows[0].count("|")
    assert rows == [f"| miniboone | fused | {name} | 2 | 4 | 4 | 0 | 2 | 6 | 4 |" for name in ("Disc-Opt", "Opt-Disc")]
