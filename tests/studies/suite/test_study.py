"""The table and figure over all problems: Disc-Opt against Opt-Disc alone, each comparison once, its settings named."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from pynode.records.runs import Run
from pynode.studies.load import highest_load, load_note
from pynode.studies.reduction.study import Reduction
from pynode.studies.results import Results
from pynode.studies.suite.study import Suite, comparisons, distinct
from tests.studies.reduction.test_study import run


def part(
    *methods: str,
    seeds: tuple[int, ...] = (0,),
    problem: str = "spiral",
    engine: str = "eager",
    seconds: float = 10.0,
    **config: Any,
) -> Results:
    """A results directory with a run of each method and seed; Opt-Disc takes ten times as long."""
    runs = []
    for method in methods:
        for seed in seeds:
            took = seconds if method.startswith("opt-disc") else 1.0 + seed
            name = method.removesuffix("-multilevel")
            made = run(name, [8.0, 4.0, 1.0], seconds=took, nfe=10, seed=seed)
            options = {"levels": [2, 5]} if method != name else None
            settings = made.config | {"problem": problem, "multilevel": options} | config
            settings["method"] = {**made.config["method"], "steps": 1}
            runs.append(
                replace(
                    made, config=settings, summary=(made.summary or {}) | {"engine": engine}, label=f"{name}-seed{seed}"
                )
            )
    return Results(Path("nowhere"), runs)


def suite(**parts: Results) -> Results:
    return Results(Path("nowhere"), parts={name.replace("_", "-"): made for name, made in parts.items()})


BOTH = ("disc-opt", "opt-disc")


@pytest.mark.parametrize(
    "methods",
    [
        ("disc-opt", "disc-opt-multilevel"),
        ("disc-opt-julia", "disc-opt-julia-multilevel"),
        ("disc-opt", "opt-disc-julia"),
        ("disc-opt",),
        ("opt-disc", "ad-adaptive"),
    ],
)
def test_only_disc_opt_and_opt_disc_of_one_backend_are_compared(methods: tuple[str, ...]) -> None:
    results = suite(other=part(*methods), spiral=part(*BOTH))
    assert [c.folder for c in comparisons(results)] == ["spiral"]
    table = Suite().tables(results)[0]
    assert [row[:2] for row in table.rows] == [["spiral", "eager"]]
    assert table.notes[1] == "Without a pair of Disc-Opt and Opt-Disc to compare: other."


def test_nothing_to_compare_has_no_figure() -> None:
    levels = suite(levels=part("disc-opt", "disc-opt-multilevel"))
    assert Suite().figures(levels) == {"suite": None}
    assert Suite().finding(levels) is None
    assert Suite().tables(levels)[0].rows == []


@pytest.mark.parametrize("order", [("a", "b"), ("b", "a")])
def test_repeats_are_shown_once_with_most_seeds(order: tuple[str, str]) -> None:
    few, many = order
    results = suite(
        **dict(sorted({f"spiral_{few}": part(*BOTH), f"spiral_{many}": part(*BOTH, seeds=(0, 1, 2))}.items()))
    )
    kept, repeated = distinct(comparisons(results))
    assert [c.folder for c in kept] == [f"spiral-{many}"]
    assert [(a.folder, b.folder) for a, b in repeated] == [(f"spiral-{few}", f"spiral-{many}")]
    table = Suite().tables(results)[0]
    assert [row[:3] for row in table.rows] == [["spiral", "eager", "3"]]
    assert table.rows[0][6:8] == ["80.0 % (70.0 to 90.0)", "0.0 %"]
    assert f"spiral-{few} (eager; see spiral-{many})" in table.notes[1]


@pytest.mark.parametrize(
    "change",
    [
        {"iterations": 7},
        {"options": {"batch": 7}},
        {"learning_rate": 0.5},
        {"method": {"method": "disc-opt", "steps": 9}},
        {"faithful": True},
    ],
)
def test_other_settings_of_a_problem_are_named(change: dict[str, Any]) -> None:
    usual: dict[str, Any] = {"iterations": 3, "options": {}, "learning_rate": 0.1}
    changed = part(*BOTH, **usual)
    changed = replace(changed, runs=[_changed(r, change) for r in changed.runs])
    kept, repeated = distinct(comparisons(suite(spiral=part(*BOTH, **usual), spiral_new=changed)))
    assert [c.folder for c in kept] == ["spiral", "spiral-new"]
    assert repeated == []
    rows = Suite().tables(suite(spiral=part(*BOTH, **usual), spiral_new=changed))[0].rows
    assert [row[0] for row in rows] == ["spiral", "spiral-new"]


def _changed(made: Run, change: dict[str, Any]) -> Run:
    if "method" in change and made.method != "disc-opt":
        return made
    return replace(made, config=made.config | change)


def test_engines_are_compared_by_themselves() -> None:
    results = suite(
        spiral=part(*BOTH, engine="fused", seconds=2.0),
        spiral_eager=part(*BOTH),
        spiral_julia=part(*BOTH, "disc-opt-julia", "opt-disc-julia", engine="julia", seconds=0.5),
    )
    kept, _ = distinct(comparisons(results))
    assert [(c.name, c.engine) for c in kept[:2]] == [("spiral", "eager"), ("spiral", "fused")]
    sentence = Suite().finding(results)
    assert sentence is not None
    assert "90.0 % (spiral, eager)" in sentence
    assert "-100.0 %" in sentence
    figure = Suite().figures(results)["suite"]
    assert figure is not None
    labels = [label.get_text() for label in figure.axes[0].get_yticklabels()]
    assert labels[:2] == ["spiral, eager, 1 seed, load unknown", "spiral, fused, 1 seed, load unknown"]
    settings = Suite().tables(results)[1]
    assert settings.rows[0] == ["spiral", "eager", "3", "disc-opt", "opt-disc", "spiral-eager"]


def test_a_folder_names_what_its_problem_does_not() -> None:
    results = suite(mine=part(*BOTH, problem="npy"), failed=part("disc-opt", problem="power"))
    broken = [replace(r, summary=None) for r in results.parts["failed"].runs]
    results.parts["failed"] = replace(results.parts["failed"], runs=broken)
    rows = Suite().tables(results)[0].rows
    assert [row[0] for row in rows] == ["mine", "failed"]
    assert rows[1][2:] == ["0", *["–"] * 7, "1"]


def loaded(results: Results, *loads: float | None) -> Results:
    """The same runs with the load averages of their machine; None leaves one out."""
    runs = [
        replace(r, summary=(r.summary or {}) | ({} if load is None else {"load_average": load}))
        for r, load in zip(results.runs, loads, strict=True)
    ]
    return replace(results, runs=runs)


@pytest.mark.parametrize(
    ("loads", "cell", "label"),
    [
        ((1.0, 1.25), "1.25", None),
        ((1.0, 1.31), "1.31, not idle", "not idle"),
        ((None, 1.0), "not recorded", "load unknown"),
        ((None, 2.0), "2.00, not idle", "not idle"),
        ((None, None), "not recorded", "load unknown"),
    ],
)
def test_a_machine_that_was_not_idle_is_marked(loads: tuple[float | None, ...], cell: str, label: str | None) -> None:
    results = suite(spiral=loaded(part(*BOTH), *loads))
    table = Suite().tables(results)[0]
    assert table.rows[0][table.columns.index("load")] == cell
    figure = Suite().figures(results)["suite"]
    assert figure is not None
    (shown,) = figure.axes[0].get_yticklabels()
    assert shown.get_text().split(", ")[3:] == ([label] if label else [])
    notes = Reduction().tables(results.parts["spiral"])[0].notes
    assert [note for note in notes if "load" in note] == (
        [] if label is None else [load_note(highest_load(results.parts["spiral"].runs))]
    )


def test_a_part_of_a_set_and_synthetic_rows_are_named_as_such() -> None:
    rows = {"train": 34_360, "validation": 3_817, "test": 4_242}
    published = {"train": 1_659_917, "validation": 184_435, "test": 204_928}
    of_power = {"name": "power", "rows": rows, "published_rows": published, "whole": False}
    of_gas = {"name": "gas", "rows": rows, "published_rows": None, "whole": None, "synthetic": "a generator"}
    results = suite(
        gas=part(*BOTH, problem="gas", data=of_gas),
        power=part(*BOTH, problem="power", data=of_power),
        spiral=part(*BOTH),
    )
    names = ["gas (synthetic)", "power (part: 2.1 % of rows)", "spiral"]
    for table in Suite().tables(results):
        assert [row[0] for row in table.rows] == names
    figure = Suite().figures(results)["suite"]
    assert figure is not None
    assert [tick.get_text().rpartition(", eager")[0] for tick in figure.axes[0].get_yticklabels()] == names
    assert results.parts["power"].title == "power (part: 2.1 % of rows)"
    assert results.parts["power"].problem == "power"


def test_the_same_settings_on_other_rows_are_no_repeat() -> None:
    parts = {
        folder: part(*BOTH, problem="power", data={"name": "power", "rows": {"train": rows}})
        for folder, rows in (("power", 10), ("power_more", 20))
    }
    kept, repeated = distinct(comparisons(suite(**parts)))
    assert [c.folder for c in kept] == ["power", "power-more"]
    assert repeated == []


def on_rows(made: Results, *digests: str) -> Results:
    """The runs of a part, each on the rows of a file with this digest."""
    rows = {"name": "power", "rows": {"train": 10}}
    runs = [
        replace(r, config={**r.config, "data": {**rows, "sha256": {"train": digest}}})
        for r, digest in zip(made.runs, digests, strict=True)
    ]
    return replace(made, runs=runs)


def test_pairs_on_different_rows_are_left_out_and_named() -> None:
    one, two = (part(*BOTH, problem="power", seeds=(0, 1), learning_rate=rate) for rate in (0.1, 0.2))
    results = suite(
        power=on_rows(part(*BOTH, problem="power"), "a", "b"),
        power_partly=on_rows(one, "a", "a", "a", "b"),
        power_two=on_rows(two, "a", "b", "a", "b"),
    )
    table = Suite().tables(results)[0]
    assert [row[0] for row in table.rows] == ["power", "power (mixed rows)"]
    assert [row[2] for row in table.rows] == ["1", "2"]
    (note,) = [note for note in table.notes if "different rows" in note]
    left_out = "Left out, since opt-disc and disc-opt were trained on different rows"
    assert f"power: {left_out} (seed 0: sha256.train: b -> a)." in note
    assert f"power-partly: {left_out} (seed 1: sha256.train: b -> a)." in note
    assert not any("Without a pair" in note for note in table.notes)


@pytest.mark.parametrize(
    ("threads", "load", "cell"),
    [
        ((1, 1), 4.0, "4.00, not idle"),
        ((4, 4), 4.25, "4.25 on 4 threads"),
        ((4, 4), 4.5, "4.50 on 4 threads, not idle"),
        ((4, 1), 4.0, "4.00, not idle"),
    ],
)
def test_the_runs_own_threads_are_no_other_work(threads: tuple[int, int], load: float, cell: str) -> None:
    made = loaded(part(*BOTH), load, load)
    runs = [replace(run, threads=own) for run, own in zip(made.runs, threads, strict=True)]
    results = suite(spiral=replace(made, runs=runs))
    table = Suite().tables(results)[0]
    assert table.rows[0][table.columns.index("load")] == cell
    figure = Suite().figures(results)["suite"]
    assert figure is not None
    assert ("not idle" in figure.axes[0].get_yticklabels()[0].get_text()) == ("not idle" in cell)
    notes = Reduction().tables(results.parts["spiral"])[0].notes
    assert any("was not idle" in note for note in notes) == ("not idle" in cell)
    assert any("each further thread" in note.lower() for note in table.notes) == (threads == (4, 4))


def test_the_name_of_an_engine_and_of_other_rows() -> None:
    """A folder's engine is said once; rows of another problem than the folder's name has are named."""
    parts = {folder: part(*BOTH, problem="higgs") for folder in ("hepmass_fused", "hepmass", "higgs_more")}
    names = {c.folder: replace(c, engine="fused").name for c in comparisons(suite(**parts))}
    assert names == {"hepmass-fused": "hepmass (higgs rows)", "hepmass": "hepmass (higgs rows)", "higgs-more": "higgs"}
