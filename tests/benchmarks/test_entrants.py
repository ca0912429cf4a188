"""Every entrant that is installed computes what pynode computes by torch operators, and trains alike."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from experiments.benchmarks.agreement import bound, continuous_reference, difference
from experiments.benchmarks.entrants import ENTRANTS
from experiments.benchmarks.entrants.base import Entrant
from experiments.benchmarks.workload import Workload

NAMES = ENTRANTS.names()


def kind_of(name: str, workload: Workload) -> type[Entrant]:
    """The entrant, or the test is skipped."""
    kind = ENTRANTS.load(name)
    if reason := kind.unfit(workload) or kind.missing():
        pytest.skip(reason)
    return kind


def check_alike(name: str, workload: Workload) -> None:
    """Gradient and training of Disc-Opt."""
    kind = kind_of(name, workload)
    reference = ENTRANTS.load("pynode-eager")(workload, "", "float64")
    wanted = reference.gradient()
    for variant in kind.variants(workload):
        entrant = kind(workload, variant, "float64")
        gradient = entrant.gradient()
        assert difference(gradient.theta, wanted.theta) < 1e-12
        assert gradient.loss == pytest.approx(wanted.loss, rel=1e-13)
        entrant.reset()
        reference.reset()
        for _ in range(3):
            entrant.work()
            reference.work()
        start = workload.arrays["theta"]
        assert difference(entrant.theta() - start, reference.theta() - start) < 1e-8
        entrant.reset()
        assert np.array_equal(entrant.theta(), start)


@pytest.mark.parametrize("name", NAMES)
def test_disc_opt_of_a_series(name: str, series: Workload) -> None:
    check_alike(name, series)
    check_alike(name, replace(series, steps=3))


@pytest.mark.parametrize("name", NAMES)
def test_disc_opt_of_a_flow(name: str, flow: Workload) -> None:
    check_alike(name, flow)


@pytest.mark.parametrize("name", NAMES)
def test_opt_disc_meets_its_tolerance(name: str, series: Workload) -> None:
    workload = replace(series, method="opt-disc", unit="gradient", rtol=1e-6, atol=1e-8)
    kind = kind_of(name, workload)
    wanted = continuous_reference(workload)
    for variant in kind.variants(workload):
        entrant = kind(workload, variant, "float64")
        entrant.work()
        gradient = entrant.gradient()
        assert difference(gradient.theta, wanted.gradient) < bound(workload)
        assert gradient.loss == pytest.approx(wanted.loss, rel=bound(workload))


def test_every_entrant_says_who_it_is() -> None:
    assert {ENTRANTS.load(name).name for name in NAMES} == set(NAMES)
    assert all(ENTRANTS.summary(name) for name in NAMES)
