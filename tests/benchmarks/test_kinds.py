"""Continuous adjoints and gradients through the steps taken are not compared with each other."""

from __future__ import annotations

from pathlib import Path

import pytest

from experiments.benchmarks.entrants import on_jax, on_torch
from experiments.benchmarks.figures import findings, seconds
from experiments.benchmarks.kinds import CONTINUOUS, THROUGH_STEPS, kind_of, parts, turns_won
from experiments.benchmarks.records import read
from experiments.benchmarks.tables import tables

CPU = read(Path(__file__).resolve().parents[2] / "experiments" / "published" / "bench-cpu")


@pytest.mark.parametrize(
    ("entrant", "kind"),
    [
        ("diffrax tsit5 checkpoint", THROUGH_STEPS),
        ("torchode tsit5 autograd", THROUGH_STEPS),
        ("diffrax tsit5 backsolve", CONTINUOUS),
        ("torchode tsit5 backsolve", CONTINUOUS),
        ("julia interpolating", CONTINUOUS),
        ("pynode-fused dopri5 interpolating", CONTINUOUS),
        ("torchdiffeq", CONTINUOUS),
    ],
)
def test_what_an_entrant_differentiates(entrant: str, kind: str) -> None:
    assert kind_of(entrant) == kind


def test_every_variant_of_other_programs_has_one_of_each_kind() -> None:
    workload = next(w for w in CPU.workloads if w.method == "opt-disc")
    for kind in (on_jax.Diffrax, on_torch.Torchode):
        names = [f"{kind.name} {variant}" for variant in kind.variants(workload)]  # type: ignore[arg-type]
        assert sorted(map(kind_of, names)) == sorted((CONTINUOUS, THROUGH_STEPS))


def test_no_table_figure_or_finding_mixes_them() -> None:
    workload = next(w for w in CPU.workloads if w.method == "opt-disc")
    for table in tables(CPU):
        if table.title.endswith((CONTINUOUS, THROUGH_STEPS)):
            (kind,) = {kind_of(row[0]) for row in table.rows}
            assert table.title.endswith(kind)
            assert ("Opt-Disc" in table.title) == (kind == CONTINUOUS)
    split = parts(CPU, workload)
    assert [title.endswith(THROUGH_STEPS) for title, _ in split] == [False, True]
    assert sum(len(found) for _, found in split) == len(CPU.seconds(workload.name))
    figure = seconds(CPU)
    assert figure is not None
    titles = [axes.get_title(loc="left") for axes in figure.axes]
    assert [title for title, _ in split] == [t for t in titles if t in dict(split)]
    (sentence,) = [s for s in findings(CPU) if "Opt-Disc" in s]
    assert "checkpoint" not in sentence
    assert "torchode tsit5 autograd" not in sentence


def test_turns_are_counted_pair_by_pair() -> None:
    assert turns_won([1.0, 3.0, 2.0], [2.0, 2.0, 2.0]) == "1 of 3"


def test_the_table_shows_how_many_turns_were_won() -> None:
    table = next(t for t in tables(CPU) if t.title.startswith("miniboone"))
    by_name = {row[0]: row for row in table.rows}
    won = by_name["torchdiffeq"][table.columns.index("turns won")]
    turns = CPU.seconds("miniboone-1000")
    pairs = zip(turns["torchdiffeq"], turns["pynode-fused"], strict=True)
    assert won == f"{sum(a < b for a, b in pairs)} of 9"
    assert by_name["pynode-fused"][table.columns.index("turns won")] == "–"
