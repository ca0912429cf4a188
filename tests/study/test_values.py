"""Numbers of sentences: what runs ended with, how far apart they were, and how they were made."""

from __future__ import annotations

from dataclasses import replace

import pytest

from experiments.study.page import values
from pynode.errors import UnknownName, UsageError
from pynode.records.runs import Run
from tests.study.made_up import disc_opt, opt_disc


def publish(monkeypatch: pytest.MonkeyPatch, *runs: Run) -> None:
    """Makes these runs what every folder holds."""
    monkeypatch.setattr(values, "seeds_of", lambda _, method: [run for run in runs if run.method == method])


def test_seeds_are_counted_by_best_and_last_loss(monkeypatch: pytest.MonkeyPatch) -> None:
    """Disc-Opt: at best 1, 2 and 1, in the end 1, 30 and 1.5; Opt-Disc: 1.5, 1 and 2, and 11, 40 and 2."""
    disc = [disc_opt(k, seconds=1.0, losses=x) for k, x in enumerate([(8.0, 1.0), (2.0, 30.0), (1.0, 1.5)])]
    opt = [opt_disc(k, losses=x) for k, x in enumerate([(1.5, 11.0), (1.0, 40.0), (3.0, 2.0)])]
    publish(monkeypatch, *disc, *opt)
    assert values.exploded("spiral", "disc-opt") == "one"
    assert values.exploded("spiral", "opt-disc") == "one"
    assert values.worse_best("spiral") == "one"
    assert values.worse_last("spiral") == "none"
    publish(monkeypatch, *disc, *opt[1:], opt_disc(0, losses=(1.5, 0.5)))
    assert values.worse_best("spiral") == "two"
    assert values.worse_last("spiral") == "one"


def test_a_seed_of_one_method_alone_is_not_compared(monkeypatch: pytest.MonkeyPatch) -> None:
    publish(monkeypatch, disc_opt(0, seconds=1.0, losses=(9.0,)), opt_disc(1, losses=(1.0,)))
    assert values.worse_last("spiral") == "none"
    with pytest.raises(UsageError, match="the methods in spiral have no validation in common"):
        values.apart("spiral")


def test_the_methods_are_apart_by_the_largest_difference_at_the_same_iteration(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of the same seed, where both were validated."""
    first = [disc_opt(0, seconds=1.0, losses=(8.0, 4.0)), opt_disc(0, losses=(8.5, 3.75))]
    second = [disc_opt(1, seconds=1.0, losses=(2.0, 1.0)), opt_disc(1, losses=(2.0, 1.25))]
    publish(monkeypatch, *first, *second)
    assert values.apart("power") == "0.5"
    lost = replace(second[1].records[1], validation_loss=None)
    publish(monkeypatch, *first, second[0], replace(second[1], records=[second[1].records[0], lost]))
    assert values.apart("power") == "0.5"
    publish(monkeypatch, *second)
    assert values.apart("power") == "0.25"


def test_the_engine_is_that_of_all_records(monkeypatch: pytest.MonkeyPatch) -> None:
    run = disc_opt(seconds=1.0)

    def on(*engines: str) -> Run:
        return replace(run, records=[replace(run.records[0], engine=name) for name in engines])

    publish(monkeypatch, on("fused", "fused"))
    assert values.engine_in_words("8gaussians-multilevel") == "compiled kernels"
    for mixed in (on("fused", "eager"), on("")):
        publish(monkeypatch, mixed)
        with pytest.raises(UsageError, match="not one; write what they are"):
            values.engine_in_words("8gaussians-multilevel")


def test_numbers_of_a_configuration(monkeypatch: pytest.MonkeyPatch) -> None:
    run = disc_opt(seconds=1.0)
    run.config.update(iterations=6000, learning_rate=1e-3, options={"hidden": [63, 63], "kinds": [1, 2]})
    publish(monkeypatch, run)
    assert values.configured("bsds300", "disc-opt", "iterations") == "6,000"
    assert values.configured("bsds300", "disc-opt", "learning_rate") == "1e-3"
    assert values.configured("bsds300", "disc-opt", "hidden") == "63"
    with pytest.raises(UsageError, match=r"kinds of disc-opt in bsds300 is \[1, 2\], not a number"):
        values.configured("bsds300", "disc-opt", "kinds")
    with pytest.raises(UnknownName, match="unknown entry of a configuration 'iteration'"):
        values.configured("bsds300", "disc-opt", "iteration")
