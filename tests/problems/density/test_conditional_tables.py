"""Densities of a user's table given other columns of it: likelihoods, scores of other files, samples."""

from __future__ import annotations

import csv
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from pynode.datasets.errors import DataError
from pynode.datasets.normal import normal_nll
from pynode.datasets.reading import Reading
from pynode.datasets.splits import Splits
from pynode.errors import InvalidArgument
from pynode.flows.divergence import Exact
from pynode.flows.flow import ACCURATE, Flow
from pynode.methods.disc_opt import DiscOpt
from pynode.problems import PROBLEMS
from pynode.problems.base import options_from_json
from pynode.problems.density.user_tables import AnyTable
from pynode.schemes.rk4 import RK4
from pynode.table_flows.drawing import drawn, table_text
from pynode.table_flows.scoring import NewRows, log_likelihoods, new_rows

KINDS = {"oak": (20.0, 3.0), "beech": (26.0, 1.5), "yew": (9.0, 1.0)}


def line(generator: np.random.Generator, kind: str) -> list[str]:
    mean, std = KINDS[kind]
    age = generator.uniform(10, 90)
    return [kind, f"{mean + std * generator.normal():.4f}", f"{age:.1f}", f"{200 + age * generator.normal(1, 0.2):.3f}"]


@pytest.fixture(scope="module")
def trees(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two values, a class and a number: 300 trees."""
    path = tmp_path_factory.mktemp("trees") / "trees.csv"
    generator = np.random.default_rng(0)
    rows = [line(generator, kind) for kind in generator.choice(list(KINDS), 300)]
    path.write_text("kind,girth,age,height\n" + "\n".join(map(",".join, rows)) + "\n")
    return path


def problem(path: Path, **options: Any) -> AnyTable:
    given = {"data": str(path), "hidden": (8,), "condition": ("kind", "age"), **options}
    return AnyTable(options=options_from_json(AnyTable, given))


def model_of(problem: AnyTable) -> Flow:
    """Untrained, but with weights that move samples."""
    model = problem.model(0)
    generator = torch.Generator().manual_seed(0)
    theta = model.theta()
    model.set_theta(theta + 0.3 * torch.randn(theta.shape, generator=generator, dtype=theta.dtype))
    return model


def test_the_condition_is_no_dimension(trees: Path) -> None:
    table = problem(trees)
    table.check()
    assert (table.dim, table.context_dim, table.splits.dim) == (2, 4, 2)
    model, batch = model_of(table), table.batch(3)
    assert batch.context is not None
    assert batch.context.shape == (200, 4)
    rows = table.splits.train[table._rows(3, slice(None))]
    np.testing.assert_allclose(batch.x, rows)
    objective = table.objective(DiscOpt(RK4, 4), model, batch)
    expected = -model.log_prob(batch.x, batch.context, method=DiscOpt(RK4, 4), divergence=Exact()).mean()
    assert objective.value == pytest.approx(float(expected.detach()), abs=1e-12)
    objective.backward()
    assert all(p.grad is not None for p in model.parameters())


def test_validation_and_evaluation_see_their_contexts(trees: Path) -> None:
    table = problem(trees)
    model = model_of(table)
    contexts = {part: torch.as_tensor(table.splits.contexts[part]) for part in ("validation", "test")}
    x = torch.as_tensor(table.splits.validation, dtype=torch.float64)
    alone = -model.log_prob(x, contexts["validation"], method=ACCURATE, divergence=Exact()).mean()
    assert table.validation_loss(model) == pytest.approx(float(alone.detach()), abs=1e-6)
    metrics = table.evaluate(model, DiscOpt(RK4, 4)).metrics
    assert metrics["test_nll_raw"] == pytest.approx(metrics["test_nll"] - table.splits.log_density_offset)
    counts = contexts["test"][:, :3].sum(0)
    of_classes = torch.tensor([metrics[f"test_nll_raw of {kind}"] for kind in ("beech", "oak", "yew")])
    assert float((counts * of_classes).sum() / counts.sum()) == pytest.approx(metrics["test_nll_raw"], abs=1e-5)
    assert metrics["inverse_data"] < 1e-4


def rearranged(path: Path, rows: list[list[str]]) -> Path:
    with path.open("w") as file:
        writer = csv.writer(file, delimiter=";")
        writer.writerow(["note", "height", "age", "kind", "girth"])
        writer.writerows([f"no {k}", row[3], row[2], row[0], row[1]] for k, row in enumerate(rows))
    return path


def test_scores_of_a_file_in_another_order(trees: Path, tmp_path: Path) -> None:
    """In the units of the file: the density of the scaled rows over the product of the scales."""
    table, generator = problem(trees), np.random.default_rng(1)
    model, rows = model_of(table), [line(generator, kind) for kind in ("yew", "oak", "beech", "oak")]
    new = new_rows(table, rearranged(tmp_path / "new.txt", rows), Reading())
    assert new.ignored == ("note",)
    assert new.table.place(1) == "line 3"
    assert {word: list(those) for word, those in new.groups.items()}["oak"] == [False, True, False, True]
    scores = log_likelihoods(table, model, new)
    splits = table.splits
    assert splits.mean is not None
    assert splits.std is not None
    for row, score in zip(rows, scores, strict=True):
        z = (np.array([float(row[1]), float(row[3])]) - splits.mean) / splits.std
        kind = [float(row[0] == name) for name in ("beech", "oak", "yew")]
        age = splits.conditions.columns[1]  # type: ignore[union-attr]
        context = torch.tensor([[*kind, (float(row[2]) - age.mean) / age.std]], dtype=torch.float64)
        log_prob = model.log_prob(torch.as_tensor(z)[None], context, method=ACCURATE, divergence=Exact())
        assert score == pytest.approx(log_prob.item() - np.log(splits.std).sum(), abs=1e-5)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (
            "kind,girth,age,height\noak,20,30,300\nelm,20,30,300\n",
            "new.csv, line 3, column 1 ('kind'): 'elm' is no class",
        ),
        (
            "kind,girth,height\noak,20,300\n",
            "new.csv has no column 'age', which the flow was trained on; it has columns",
        ),
        ("kind,girth,age,height\noak,20,,300\n", "line 2, column 3 ('age'): the value is missing"),
        ("kind,girth,age,height\noak,20,old,300\n", "line 2, column 3 ('age'): 'old' is not a number"),
        ("kind,girth,age,height\noak,,20,300\n", "line 2, column 2 ('girth'): an empty cell is not a finite number"),
        ("girth,kind,age,height,girth\n1,oak,20,300,2\n", "new.csv has several columns 'girth'"),
        ("oak,20,30,300\noak,20,30,310\n", "new.csv has no column 'kind'"),
    ],
)
def test_files_that_can_not_be_scored(trees: Path, tmp_path: Path, text: str, said: str) -> None:
    (tmp_path / "new.csv").write_text(text)
    with pytest.raises(DataError) as caught:
        new_rows(problem(trees), tmp_path / "new.csv", Reading())
    assert said in str(caught.value)


def test_dequantised_columns(tmp_path: Path) -> None:
    """A score is that of the density averaged over the step; values between the steps are refused."""
    generator = np.random.default_rng(0)
    values = np.column_stack((generator.poisson(3, 300), generator.normal(size=300)))
    np.savetxt(tmp_path / "t.csv", values, delimiter=",", fmt="%.8g")
    table = problem(tmp_path / "t.csv", condition=(), dequantise=("1",))
    model = model_of(table)
    new = new_rows(table, tmp_path / "t.csv", Reading())
    some = NewRows(new.table, new.rows[:20], None, ())
    grid = (np.arange(200) + 0.5) / 200
    splits = table.splits
    for row, score in zip(some.rows, log_likelihoods(table, model, some), strict=True):
        noisy = torch.as_tensor(splits.standardised(row + np.column_stack((grid, np.zeros(200)))))
        density = model.log_prob(noisy, method=ACCURATE, divergence=Exact()).exp().mean()
        assert score == pytest.approx(float(density.detach().log()) + splits.log_density_offset, abs=0.05)
    mixed, fixed = np.random.default_rng(2).permutation(20)[:7], DiscOpt(RK4, steps=6)
    scores, others = (
        log_likelihoods(table, model, NewRows(new.table, rows, None, ()), method=fixed)
        for rows in (some.rows, some.rows[mixed])
    )
    np.testing.assert_allclose(others, scores[mixed], rtol=1e-10)  # a row's score is its own
    (tmp_path / "new.csv").write_text("2,0.5\n2.5,0.5\n")
    with pytest.raises(DataError, match=r"new.csv, line 2, column 1: 2\.5 lies between the steps of 1"):
        new_rows(table, tmp_path / "new.csv", Reading())


def test_columns_without_names_go_by_their_places(tmp_path: Path) -> None:
    values = np.random.default_rng(0).normal(size=(100, 3))
    np.save(tmp_path / "t.npy", values)
    np.save(tmp_path / "wide.npy", np.column_stack((values, values[:, 0] * values[:, 1])))
    table = problem(tmp_path / "t.npy", condition=("2",))
    model = model_of(table)
    scores = log_likelihoods(table, model, new_rows(table, tmp_path / "t.npy", Reading()))
    assert scores.shape == (100,)
    assert np.isfinite(scores).all()
    with pytest.raises(DataError, match=r"wide\.npy has 4 columns, the training table 3"):
        new_rows(table, tmp_path / "wide.npy", Reading())


def test_a_text_without_header_and_with_words(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Words of a condition, a column of remarks that is left out, decimal commas and gaps, all by their places."""
    generator = np.random.default_rng(0)
    rows = [line(generator, kind) for kind in generator.choice(list(KINDS), 120)]
    lines = [f"no {k};{';'.join(row)}".replace(".", ",") for k, row in enumerate(rows)]
    lines[7] = "no 7;oak;;30,0;300,5"
    (tmp_path / "t.csv").write_text("\n".join(lines) + "\n")
    told = {"condition": ("2",), "drop": ("1", "4"), "missing": "drop", "header": False, "decimal": ","}
    table = problem(tmp_path / "t.csv", **told)
    (tmp_path / "new.csv").write_text("\n".join(lines[:5]) + "\n")
    new = new_rows(table, tmp_path / "new.csv", Reading())
    assert new.ignored == ("column 1", "column 4")
    assert "new.csv: ',' is taken as the decimal mark, as for training (decimal=. for the other one)" in caplog.text
    np.testing.assert_array_equal(new.rows, [[float(row[1]), float(row[3])] for row in rows[:5]])
    assert np.isfinite(log_likelihoods(table, model_of(table), new)).all()
    with pytest.raises(DataError, match=r"the value is missing|an empty cell"):
        new_rows(table, tmp_path / "t.csv", Reading())
    assert len(new_rows(table, tmp_path / "t.csv", Reading(missing="drop")).rows) == 119
    (tmp_path / "wide.csv").write_text("\n".join(f"{text};1" for text in lines[:5]) + "\n")
    with pytest.raises(DataError, match=r"wide\.csv has 6 columns, the training table 5"):
        new_rows(table, tmp_path / "wide.csv", Reading())


def test_scores_and_samples_are_no_problems() -> None:
    assert not {"scoring", "drawing"} & set(PROBLEMS.names())
    assert "table" in PROBLEMS.load_all()


def test_samples_with_names_and_conditions(trees: Path) -> None:
    table = problem(trees)
    model = model_of(table)
    asked = drawn(table, model, 3, {"age": "50", "kind": "oak"}, seed=0, method=ACCURATE)
    lines = table_text(table, asked).splitlines()
    assert lines[0] == "kind,girth,age,height"
    assert [row.split(",")[::2] for row in lines[1:]] == [["oak", "50"]] * 3
    random = drawn(table, model, 200, {}, seed=0, method=ACCURATE)
    known = {tuple(row.split(",")[::2]) for row in trees.read_text().splitlines()[1:]}
    drawn_ones = [tuple(row[::2]) for row in csv.reader(table_text(table, random).splitlines()[1:])]
    assert {kind for kind, _ in drawn_ones} == set(KINDS)
    assert {(kind, f"{float(age):.1f}") for kind, age in drawn_ones} <= known
    with pytest.raises(InvalidArgument, match="no value for age"):
        drawn(table, model, 3, {"kind": "oak"}, seed=0, method=ACCURATE)
    with pytest.raises(InvalidArgument, match="this flow has no condition"):
        drawn(problem(trees, condition=(), drop=("kind",)), model, 3, {"kind": "oak"}, seed=0, method=ACCURATE)


def test_the_normal_distribution_to_beat(trees: Path) -> None:
    """Mean linear in kind and age, one covariance, both of the training rows."""
    table = problem(trees)
    splits = table.splits
    explained = {part: np.column_stack((np.ones(len(c)), c)) for part, c in splits.contexts.items()}
    slopes = np.linalg.lstsq(explained["train"], splits.train.astype(np.float64), rcond=None)[0]
    left = splits.train - explained["train"] @ slopes
    normal = torch.distributions.MultivariateNormal(torch.zeros(2).double(), torch.as_tensor(left.T @ left / len(left)))
    log_prob = normal.log_prob(torch.as_tensor(splits.test - explained["test"] @ slopes))
    expected = -float(log_prob.mean()) - splits.log_density_offset
    metrics = table.evaluate(model_of(table), DiscOpt(RK4, 4)).metrics
    assert metrics["test_nll_normal"] == pytest.approx(expected, abs=1e-9)
    few = problem(trees, test_rows=5)
    assert normal_nll(few.splits, 5) == pytest.approx(-float(log_prob[:5].mean()) - splits.log_density_offset)


def test_too_few_rows_for_a_normal_distribution() -> None:
    rows = np.random.default_rng(0).normal(size=(8, 4))
    one_mean = Splits("t", rows[:4], rows[4:6], rows[6:], mean=np.zeros(4), std=np.ones(4))
    assert normal_nll(one_mean) is None
