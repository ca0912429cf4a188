"""Continuous adjoints and gradients through the steps taken are not compared with each other."""

from __future__ import annotations

from pathlib import Path

import pytest

from experiments.benchmarks.entrants import on_jax, on_torch
from experiments.benchmarks.figures import findings, seconds
from experiments.benchmarks.kinds import CONTINUOUS, THROUGH_STEPS, kind_of, parts, turns_won
from experiments.benchmarks.records import Benchmark, read
from experiments.benchmarks.tables import tables
from tests.benchmarks.test_page import ADAPTIVE, INTERPOLATING, KERNELS, LARGE, publish

CONTINUOUS_ONES = (INTERPOLATING, "torchdiffeq", "diffrax tsit5 backsolve", "torchode tsit5 backsolve", "julia gauss")
STEPPING_ONES = ("diffrax tsit5 checkpoint", "torchode tsit5 autograd")


@pytest.fixture
def cpu(tmp_path: Path) -> Benchmark:
    """All kinds of entrants on an adaptive solve, and a workload by fixed steps."""
    adaptive = {name: [1.0 + k] * 3 for k, name in enumerate((*CONTINUOUS_ONES, *STEPPING_ONES))}
    fixed = {KERNELS: [2.0, 2.0, 2.0], "torchdiffeq": [1.0, 3.0, 4.0]}
    publish(tmp_path / "bench-cpu", (ADAPTIVE, adaptive), (LARGE, fixed))
    return read(tmp_path / "bench-cpu")


@pytest.mark.parametrize(
    ("entrant", "kind"),
    [
        *((name, CONTINUOUS) for name in CONTINUOUS_ONES),
        *((name, THROUGH_STEPS) for name in STEPPING_ONES),
    ],
)
def test_what_an_entrant_differentiates(entrant: str, kind: str) -> None:
    assert kind_of(entrant) == kind


def test_every_variant_of_other_programs_has_one_of_each_kind() -> None:
    for kind in (on_jax.Diffrax, on_torch.Torchode):
        names = [f"{kind.name} {variant}" for variant in kind.variants(ADAPTIVE)]  # type: ignore[arg-type]
        assert sorted(map(kind_of, names)) == sorted((CONTINUOUS, THROUGH_STEPS))


def test_no_table_figure_or_finding_mixes_them(cpu: Benchmark) -> None:
    shown = [t for t in tables(cpu) if t.title.endswith((CONTINUOUS, THROUGH_STEPS))]
    assert [[row[0] for row in t.rows] for t in shown] == [list(CONTINUOUS_ONES), list(STEPPING_ONES)]
    assert [t.title.endswith(CONTINUOUS) for t in shown] == [True, False]
    assert ["Opt-Disc" in t.title for t in shown] == [True, False]
    split = parts(cpu, ADAPTIVE)
    assert [title.endswith(THROUGH_STEPS) for title, _ in split] == [False, True]
    assert sum(len(by_entrant) for _, by_entrant in split) == len(cpu.seconds(ADAPTIVE.name))
    figure = seconds(cpu)
    assert figure is not None
    titles = [axes.get_title(loc="left") for axes in figure.axes]
    assert [title for title, _ in split] == [t for t in titles if t in dict(split)]
    (sentence,) = [s for s in findings(cpu) if "Opt-Disc" in s]
    assert "checkpoint" not in sentence
    assert "torchode tsit5 autograd" not in sentence


def test_turns_are_counted_pair_by_pair() -> None:
    assert turns_won([1.0, 3.0, 2.0], [2.0, 2.0, 2.0]) == "1 of 3"


def test_the_table_shows_how_many_turns_were_won(cpu: Benchmark) -> None:
    table = next(t for t in tables(cpu) if t.title == LARGE.title)
    by_name = {row[0]: row[table.columns.index("turns won")] for row in table.rows}
    assert by_name == {KERNELS: "–", "torchdiffeq": "1 of 3"}
