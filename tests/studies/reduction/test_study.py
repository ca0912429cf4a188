"""Matched loss: costs and reductions of runs whose numbers are known beforehand."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from pynode.records.iteration import IterationRecord
from pynode.records.runs import Run
from pynode.studies import STUDIES
from pynode.studies.base import Table, number, percent
from pynode.studies.gradients.study import Gradients
from pynode.studies.quality.study import Quality
from pynode.studies.reduction.spread import KINDS, percent_with_range, ranges
from pynode.studies.reduction.study import Reduction, reductions
from pynode.studies.results import Results


def run(
    method: str, losses: list[float | None], *, seconds: float, nfe: int, seed: int = 0, faithful: bool = False
) -> Run:
    """A finished run whose every iteration costs the same."""
    records = [
        IterationRecord(
            iteration=i,
            loss=None if loss is None else 2 * loss,
            best_loss=loss,
            validation_loss=loss,
            gradient_norm=1.0,
            seconds_forward=seconds / 4,
            seconds_backward=seconds / 2,
            seconds_optimiser=seconds / 4,
            nfe_forward=nfe,
            nfe_backward=0,
            n_vjp_forward=0,
            n_vjp_backward=nfe,
            n_accepted=1,
            n_rejected=0,
            n_accepted_backward=0,
            n_rejected_backward=0,
            peak_memory_bytes=1024,
        )
        for i, loss in enumerate(losses)
    ]
    best = min((x for x in losses if x is not None), default=None)
    summary: dict[str, Any] = {
        "method": method,
        "status": "finished",
        "best_loss": best,
        "best_validation_loss": best,
        "seconds_per_iteration": seconds,
        "seconds_forward": seconds / 4,
        "training_seconds": seconds * len(losses),
        "nfe_forward": nfe,
    }
    config = {
        "problem": "made-up",
        "method": {"method": method},
        "seed": seed,
        "faithful": faithful,
        "iterations": len(losses),
    }
    return Run(config, summary, records, None, f"{method}-seed{seed}")


def results(*runs: Run) -> Results:
    """Runs as a results directory."""
    return Results(Path("nowhere"), list(runs))


SLOW = run("opt-disc", [8.0, 4.0, 2.0, 1.0, 0.5], seconds=10.0, nfe=100)
QUICK = run("disc-opt", [8.0, 6.0, 4.0, 2.0, 1.0], seconds=1.0, nfe=40)


def test_costs_are_those_before_the_loss_is_reached() -> None:
    reduction = reductions(results(SLOW, QUICK))
    assert reduction["matched_loss"] == 1.0  # the worse of 0.5 and 1.0
    assert reduction["seconds"] == {"opt-disc": 30.0, "disc-opt": 4.0}
    assert reduction["nfe"] == {"opt-disc": 300, "disc-opt": 160}
    assert reduction["evaluations"] == {"opt-disc": 600, "disc-opt": 320}
    assert reduction["time_reduction"] == pytest.approx(1 - 4 / 30)
    assert reduction["nfe_reduction"] == pytest.approx(1 - 160 / 300)
    assert reduction["per_iteration_time_ratio"] == 10
    assert reduction["forward_only_ratio"] == 10
    assert reduction["targets"][-1]["loss"] == 1.0
    assert [t["loss"] for t in reduction["targets"]] == sorted((t["loss"] for t in reduction["targets"]), reverse=True)


def test_a_slower_method_gets_a_negative_reduction() -> None:
    slower = run("disc-opt", [8.0, 6.0, 4.0, 2.0, 1.0], seconds=15.0, nfe=40)
    reduction = reductions(results(SLOW, slower))
    assert reduction["time_reduction"] == pytest.approx(1 - 60 / 30)
    sentence = Reduction().finding(results(SLOW, slower))
    assert sentence is not None
    assert "100.0 % more time" in sentence


def test_a_loss_that_costs_nothing_has_no_reduction() -> None:
    stuck = run("opt-disc", [0.5, 0.6], seconds=1.0, nfe=1)
    reduction = reductions(results(stuck, run("disc-opt", [0.9, 0.5], seconds=1.0, nfe=1)))
    assert reduction["seconds"]["opt-disc"] == 0
    assert reduction["time_reduction"] is None


def on_rows(made: Run, digest: str) -> Run:
    """The same run on the rows of a file with this digest."""
    data = {"name": "power", "rows": {"train": 10}, "sha256": {"train": digest}}
    return replace(made, config={**made.config, "data": data})


def test_runs_on_different_rows_are_not_compared() -> None:
    """As where the data were imported anew between the two methods: their losses are of different rows."""
    mixed = results(on_rows(SLOW, "a"), on_rows(QUICK, "b"))
    assert mixed.title == "made-up (mixed rows)"
    assert reductions(mixed) == {}
    (table,) = Reduction().tables(mixed)
    assert table.rows == []
    assert table.notes == [
        "Left out, since opt-disc and disc-opt were trained on different rows (seed 0: sha256.train: a -> b)."
    ]
    assert Reduction().finding(mixed) is None
    assert Quality().finding(mixed) == "The runs were trained on different rows, so their losses do not compare."
    same = results(on_rows(SLOW, "a"), on_rows(QUICK, "a"))
    assert same.title == "made-up"
    assert reductions(same) == reductions(results(SLOW, QUICK)) == reductions(results(on_rows(SLOW, "a"), QUICK))


def test_a_seed_on_different_rows_is_left_out_with_a_note() -> None:
    later = [replace(made, config={**made.config, "seed": 1}) for made in (SLOW, QUICK)]
    partly = results(on_rows(SLOW, "a"), on_rows(QUICK, "a"), on_rows(later[0], "a"), on_rows(later[1], "b"))
    assert [entry["seed"] for entry in reductions(partly)["seeds"]] == [0]
    table = Reduction().tables(partly)[0]
    assert table.title.endswith("(mixed rows)")
    assert any("different rows (seed 1: sha256.train: a -> b)" in note for note in table.notes)
    whole = results(*[on_rows(made, "a") for made in (SLOW, QUICK)], *[on_rows(made, "b") for made in later])
    assert [entry["seed"] for entry in reductions(whole)["seeds"]] == [0, 1]
    assert whole.title.endswith("(mixed rows)"), "medians over seeds are of both"


def test_seeds_are_paired_and_medians_reported() -> None:
    runs = [run("opt-disc", [8.0, 1.0], seconds=s, nfe=10, seed=i) for i, s in enumerate((10.0, 20.0, 30.0))]
    runs += [run("disc-opt", [8.0, 1.0], seconds=2.0, nfe=10, seed=i) for i in range(3)]
    runs.append(run("disc-opt", [8.0, 1.0], seconds=9.0, nfe=10, seed=7))  # without a partner
    reduction = reductions(results(*runs))
    assert [entry["seed"] for entry in reduction["seeds"]] == [0, 1, 2]
    assert reduction["seconds"] == {"opt-disc": 20.0, "disc-opt": 2.0}
    assert reduction["time_reduction"] == pytest.approx(0.9)
    assert reduction["ranges"]["time_reduction"] == pytest.approx([0.8, 1 - 2 / 30])
    assert reduction["ranges"]["nfe_reduction"] == [0.0, 0.0]
    table = Reduction().tables(results(*runs))[0]
    assert table.rows[-1][3] == "90.0 % (80.0 to 93.3)", "no median without its range"
    assert table.rows[-1][6] == "0.0 %", "all seeds agree"
    assert "Medians over 3 seeds, in brackets their range." in table.notes


def test_a_seed_without_a_reduction_leaves_no_range() -> None:
    entries = [dict.fromkeys(KINDS, value) for value in (0.5, None)]
    assert ranges(entries) == dict.fromkeys(KINDS)
    assert percent_with_range({"nfe_reduction": None, "ranges": ranges(entries)}, "nfe_reduction") == "–"


def test_faithful_runs_are_compared_by_their_training_loss() -> None:
    a = run("opt-disc", [8.0, 1.0], seconds=1.0, nfe=1, faithful=True)
    b = run("disc-opt", [8.0, 1.0], seconds=1.0, nfe=1, faithful=True)
    assert reductions(results(a, b))["matched_loss"] == 2.0


def test_iterations_without_validation_are_passed_over() -> None:
    sparse = run("opt-disc", [8.0, None, None, 1.0], seconds=10.0, nfe=1)
    assert reductions(results(sparse, QUICK))["seconds"]["opt-disc"] == 30.0


@pytest.mark.parametrize("runs", [(), (SLOW,), (QUICK,), (SLOW, run("disc-opt", [None], seconds=1.0, nfe=1))])
def test_nothing_to_compare_is_nothing(runs: tuple[Run, ...]) -> None:
    assert reductions(results(*runs)) == {}
    assert Reduction().tables(results(*runs)) == []
    assert Reduction().finding(results(*runs)) is None


def test_accuracies_of_a_sweep_are_not_mixed() -> None:
    """Several settings of one method are no seeds of each other."""
    sweep = [
        replace(run("disc-opt", [8.0, float(n)], seconds=float(n), nfe=n), label=f"disc-opt-rk4-x{n}-seed0")
        for n in (1, 2)
    ]
    sweep = [replace(r, config={**r.config, "method": {"method": "disc-opt", "steps": n}}) for n, r in enumerate(sweep)]
    mixed = results(SLOW, *sweep)
    assert mixed.is_sweep
    assert sorted(mixed.groups()) == ["disc-opt-rk4-x1", "disc-opt-rk4-x2", "opt-disc"]
    assert reductions(mixed) == {}
    assert Quality().tables(mixed) == []
    table = Gradients().tables(results(*sweep))[0]
    assert [row[:3] for row in table.rows] == [["disc-opt-rk4-x1", "1", "2"], ["disc-opt-rk4-x2", "2", "4"]]


def test_tables_say_it_in_markdown() -> None:
    text = Reduction().tables(results(SLOW, QUICK))[0].markdown()
    assert "| 1 | 30 | 4 | 86.7 % | 300 | 160 | 46.7 % |" in text
    quality = Quality().tables(results(SLOW, QUICK))[0]
    assert quality.columns == ["", "opt-disc", "disc-opt"]
    assert ["best validation loss", "0.5", "1"] in quality.rows
    assert "extrapolation MSE" not in {row[0] for row in quality.rows}, "missing in all runs"


def density(method: str, losses: list[float | None], **metrics: float) -> Run:
    """A finished run of a density."""
    made = run(method, losses, seconds=1.0, nfe=10)
    return replace(made, summary={**(made.summary or {}), "test_nll": made.quality()[-1], **metrics})


def test_quality_of_densities_has_their_rows_where_they_are_present() -> None:
    metrics = {"mmd": -2e-4, "inverse_data": 1e-7, "inverse_data_as_trained": 2e-5, "bits_per_dim": 1.2345}
    both = results(density("opt-disc", [9.0, 2.8765], excess_nll=0.05), density("disc-opt", [9.0, 2.8671], **metrics))
    rows = {row[0]: row[1:] for row in Quality().tables(both)[0].rows}
    assert rows["test NLL (nats)"] == ["2.877", "2.867"], "a digit more than other losses"
    assert rows["best validation loss"] == ["2.877", "2.867"]
    assert rows["  beyond the truth's own"] == ["0.05", "–"]
    assert rows["squared MMD of samples"] == ["–", "-2.00e-04"]
    assert rows["inverse error, data (solved accurately)"] == ["–", "1.00e-07"]
    assert rows["bits per dimension"] == ["–", "1.234"]
    for absent in ("probability mass on the grid", "inverse error, base (solved accurately)", "extrapolation MSE"):
        assert absent not in rows


@pytest.mark.parametrize(("start", "end"), [(4.0, -2.0), (-1.0, -7.0), (9.0, 3.0)])
def test_likelihoods_have_evenly_spaced_targets(start: float, end: float) -> None:
    middle = (start + end) / 2
    runs = [density(m, [start, middle, end]) for m in ("opt-disc", "disc-opt")]
    reduction = reductions(results(*runs))
    assert reduction["matched_loss"] == end
    assert [t["loss"] for t in reduction["targets"]] == pytest.approx([start - k for k in range(1, 7)])
    assert [t["seconds"]["opt-disc"] for t in reduction["targets"]] == [1.0, 1.0, 1.0, 2.0, 2.0, 2.0]
    assert Reduction().figures(results(*runs))["reduction"] is not None


def test_sums_of_squares_have_targets_evenly_spaced_in_their_logarithm() -> None:
    reduction = reductions(results(*(run(m, [64.0, 8.0, 1.0], seconds=1.0, nfe=1) for m in ("opt-disc", "disc-opt"))))
    assert [t["loss"] for t in reduction["targets"]] == pytest.approx([32, 16, 8, 4, 2, 1])


def test_losses_that_never_fell_leave_the_matched_one() -> None:
    reduction = reductions(results(*(density(m, [-1.0, -1.0]) for m in ("opt-disc", "disc-opt"))))
    assert [t["loss"] for t in reduction["targets"]] == [-1.0]


def test_a_quality_finding_names_both_methods() -> None:
    sentence = Quality().finding(results(SLOW, QUICK))
    assert sentence is not None
    assert "the best validation loss of Disc-Opt is 1 and that of Opt-Disc 0.5;" in sentence
    assert Quality().finding(results(SLOW)) is None


@pytest.mark.parametrize("end", [87.7, 0.75, 0.5])
def test_the_loss_at_the_end_stands_beside_the_best_one(end: float) -> None:
    """A method that diverges after its best iterate did not end there."""
    exploded = run("opt-disc", [8.0, 0.5, end, None], seconds=1.0, nfe=10)
    both = results(exploded, QUICK)
    assert ["last validation loss", number(end), "1"] in Quality().tables(both)[0].rows
    sentence = Quality().finding(both)
    assert sentence is not None
    assert f"of Opt-Disc 0.5; at the end they stand at 1 and {number(end)}." in sentence


def test_numbers_are_readable() -> None:
    assert [number(x) for x in (None, 0.0, 0.5190, 6.12, 123456.7, 1e-7, float("inf"))] == [
        "–",
        "0",
        "0.519",
        "6.12",
        "123,457",
        "1.00e-07",
        "–",
    ]
    assert percent(0.9876) == "98.8 %"
    assert "| a | b |" in Table("t", ["a", "b"], [["1", "2"]], ["note"]).markdown()


@pytest.mark.parametrize("name", STUDIES.names())
def test_every_study_lives_with_empty_records(name: str) -> None:
    study = STUDIES.load(name)()
    assert study.name == name
    assert study.question.endswith("?")
    assert study.tables(results()) == []
    assert all(figure is None for figure in study.figures(results()).values())
    assert study.finding(results()) is None


def test_the_factors_make_up_the_time() -> None:
    """Iterations times (evaluations times seconds of each, plus the optimiser); with the engines that ran."""
    slow = run("opt-disc", [3.0, 2.0, 1.0], seconds=4.0, nfe=10)
    fast = run("disc-opt", [3.0, 2.5, 2.0, 1.5, 1.0], seconds=1.0, nfe=4)
    fast = replace(fast, summary={**(fast.summary or {}), "engine": "fused"})
    results = Results(directory=Path("nowhere"), runs=[slow, fast])
    factors = reductions(results)["factors"]
    assert factors["iterations"] == {"opt-disc": 2.0, "disc-opt": 4.0}
    assert factors["evaluations"] == {"opt-disc": 20.0, "disc-opt": 8.0}
    for name in ("opt-disc", "disc-opt"):
        part = {key: values[name] for key, values in factors.items()}
        per_iteration = part["evaluations"] * part["per_evaluation"] + part["optimiser"]
        assert part["seconds"] == pytest.approx(part["iterations"] * per_iteration)
    table = next(t for t in Reduction().tables(results) if "made of" in t.title)
    assert [row[0] for row in table.rows][:2] == ["seconds", "iterations"]
    assert table.rows[0][1:] == ["8", "4", "2"]
    assert "eager for opt-disc; fused for disc-opt" in table.notes[0]
