"""Flows on tables: the study's architectures, batches by epochs, a user's files, and their mistakes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from pynode.datasets import cache
from pynode.datasets.errors import DataError, DataMissing, TableMissing
from pynode.datasets.splits import Splits
from pynode.errors import InvalidArgument, UnknownName
from pynode.flows.divergence import Exact, Hutchinson
from pynode.flows.flow import ACCURATE
from pynode.methods.disc_opt import DiscOpt
from pynode.methods.opt_disc import OptDisc
from pynode.problems import PROBLEMS
from pynode.problems.base import options_from_json
from pynode.problems.density.base import FlowOptions, negative_log_likelihood
from pynode.problems.density.public_tables import Miniboone
from pynode.problems.density.tables import Digits, Table
from pynode.problems.density.user_tables import NpyTable
from pynode.training.config import default_method

STUDY = {
    # name: weights, blocks, batch, NFE of an iteration
    "power": (43_320, 5, 10_000, 5 * 40),
    "gas": (278_560, 5, 1_000, 5 * 40),
    "hepmass": (546_840, 10, 10_000, 10 * 48),
    "miniboone": (820_612, 1, 1_000, 16),
    "bsds300": (6_698_664, 2, 10_000, 2 * 56),
}


@pytest.mark.parametrize("name", STUDY)
def test_the_studys_architectures(name: str) -> None:
    """Weight counts of the study's table; blocks, batch, steps."""
    weights, blocks, batch, nfe = STUDY[name]
    kind = PROBLEMS.load(name)
    problem: Any = kind()
    assert problem.field_spec.n_params * problem.blocks == weights
    assert (problem.blocks, problem.batch_rows, problem.horizon) == (blocks, batch, 1.0)
    method: Any = default_method(kind, "disc-opt")
    assert method.scheme.name == "rk38"
    assert problem.blocks * method.steps * method.scheme.n_stages == nfe
    adaptive: Any = default_method(kind, "opt-disc")
    assert (adaptive.rtol, adaptive.atol) == (1e-6, 1e-8)
    assert kind.training.dtype == "float32"


def random_splits(name: str, dim: int, rows: int = 300) -> Splits:
    """Correlated numbers in three parts."""
    generator = np.random.default_rng(0)
    values = (generator.standard_normal((rows, dim)) @ generator.standard_normal((dim, dim)) / dim**0.5).astype("f4")
    return Splits(name, values[: rows - 80], values[rows - 80 : rows - 40], values[rows - 40 :])


@pytest.fixture
def miniboone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> type[Table]:
    """The problem with a small cache of its own."""
    monkeypatch.setenv("PYNODE_DATA", str(tmp_path))
    cache.store(random_splits("miniboone", 43), tmp_path)
    return Miniboone


def test_an_iteration_of_miniboone(miniboone: type[Table]) -> None:
    """16 evaluations with 4 steps, one per block and stage; Hutchinson in training, float32 as in the study."""
    problem = miniboone(dtype=torch.float32, options=options_from_json(miniboone, {"batch": 50}))
    problem.check()
    model = problem.model(0)
    assert model.theta().numel() == 820_612
    objective = problem.objective(default_method(Miniboone, "disc-opt"), model, problem.batch(0))
    objective.loss.backward()
    assert objective.stats.nfe_forward == 16
    assert problem.training_divergence == Hutchinson("gaussian")
    assert 40 < float(objective.loss.detach()) < 80


def test_missing_data_say_what_to_do(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYNODE_DATA", str(tmp_path / "nothing"))
    with pytest.raises(DataMissing, match="data fetch miniboone"):
        Miniboone().check()


def test_epochs_visit_every_row_once_in_an_order_of_the_seed(miniboone: type[Table]) -> None:
    options = options_from_json(miniboone, {"batch": 60})
    problem, again, other = (miniboone(seed=s, options=options) for s in (1, 1, 2))
    rows = torch.cat([problem.training_samples(i) for i in range(3)])
    assert len(torch.unique(rows, dim=0)) == 180
    assert torch.equal(problem.training_samples(5), again.training_samples(5))
    assert not torch.equal(problem.training_samples(0), problem.training_samples(3))
    assert not torch.equal(problem.training_samples(0), other.training_samples(0))
    later = problem.training_samples(2)  # back to an earlier epoch, as after a resume
    assert torch.equal(later, rows[120:])


def test_rows_that_a_caller_changes_are_its_own(miniboone: type[Table]) -> None:
    """Centring a batch or the validation rows in place leaves the table as it is."""
    problem = miniboone(options=options_from_json(miniboone, {"batch": 60}))
    for rows in (problem.validation_samples, problem.test_samples, lambda: problem.training_samples(0)):
        expected = rows().clone()
        rows().sub_(100.0)
        assert torch.equal(rows(), expected)


def test_rows_bound_every_part(miniboone: type[Table]) -> None:
    problem = miniboone(options=options_from_json(miniboone, {"rows": 30, "batch": 10}))
    assert [len(problem.splits.train), len(problem.validation_samples()), len(problem.test_samples())] == [30, 30, 30]


def test_rows_of_the_final_evaluation_are_bound_by_themselves(miniboone: type[Table]) -> None:
    """Training and validation keep all their rows."""
    small = {"hidden": (4,), "batch": 10}
    problem = miniboone(options=options_from_json(miniboone, {**small, "test_rows": 5}))
    whole = miniboone(options=options_from_json(miniboone, small))
    assert torch.equal(problem.test_samples(), whole.test_samples()[:5])
    assert torch.equal(problem.validation_samples(), whole.validation_samples())
    assert len(problem.splits.train) == len(whole.splits.train)
    model = whole.model()
    seen = torch.from_numpy(np.array(whole.splits.train[:5])).double()
    expected = float(-model.log_prob(seen, divergence=Exact(), method=ACCURATE).mean().detach())
    assert problem.evaluate_further(model, 0.0).metrics["train_nll"] == pytest.approx(expected, rel=1e-5)
    with pytest.raises(InvalidArgument, match="test_rows = 1: not an integer of 2 or more"):
        options_from_json(miniboone, {"test_rows": 1})


def test_batches_larger_than_the_table_are_refused(miniboone: type[Table]) -> None:
    with pytest.raises(InvalidArgument, match="batch = 1000: more than the 220 training rows"):
        miniboone().check()


@pytest.fixture
def table(tmp_path: Path) -> Path:
    """A file of the user's."""
    path = tmp_path / "mine.npy"
    generator = np.random.default_rng(5)
    np.save(path, generator.standard_normal((300, 3)) * [1.0, 10.0, 0.1] + [5.0, 0.0, -2.0])
    return path


def user_table(path: Path, **more: Any) -> NpyTable:
    return NpyTable(options=options_from_json(NpyTable, {"data": str(path), "batch": 100, "hidden": (8,), **more}))


def test_a_users_table_in_and_out_of_its_units(table: Path) -> None:
    """Standardised for the flow; samples come back in the file's units."""
    problem = user_table(table)
    problem.check()
    train = problem.splits.train
    np.testing.assert_allclose(train.mean(0), 0, atol=1e-6)
    np.testing.assert_allclose(train.std(0), 1, atol=1e-6)
    raw = problem.in_raw_units(torch.from_numpy(np.array(train)).double())
    rows = np.load(table, allow_pickle=False)
    assert all(np.abs(rows - row).max(1).min() < 1e-5 for row in raw)


def test_evaluation_of_a_users_table(table: Path) -> None:
    """The raw likelihood differs by the log of the scales; metrics are there."""
    problem = user_table(table)
    metrics = problem.evaluate(problem.model(0), DiscOpt(steps=4)).metrics
    shift = float(np.log(problem.splits.std).sum())  # type: ignore[arg-type]
    assert metrics["test_nll_raw"] == pytest.approx(metrics["test_nll"] + shift, abs=1e-9)
    assert metrics["inverse_data"] < 1e-4
    assert {"train_nll", "mmd", "rows", "parameters", "inverse_base_frobenius_as_trained"} <= set(metrics)


@pytest.mark.parametrize(
    ("write", "error", "message"),
    [
        (lambda p: np.save(p, np.full((50, 2), np.nan)), DataError, "not a finite"),
        (lambda p: np.save(p, np.column_stack((np.arange(50.0), np.ones(50)))), DataError, "constant column"),
        (lambda p: np.save(p, np.random.default_rng(0).random((60, 2))), InvalidArgument, "batch = 100"),
        (lambda p: p.write_bytes(b"no array"), DataError, "npy"),
    ],
    ids=["nan", "constant", "few rows", "no npy"],
)
def test_bad_tables_are_refused(tmp_path: Path, write: Any, error: type[Exception], message: str) -> None:
    path = tmp_path / "bad.npy"
    write(path)
    with pytest.raises(error, match=message):
        user_table(path).check()


def test_a_table_has_to_be_named() -> None:
    with pytest.raises(TableMissing, match=r"data=FILE\.npy"):
        NpyTable().check()
    with pytest.raises(InvalidArgument, match=r"not a \.npy file"):
        NpyTable(options=options_from_json(NpyTable, {"data": "x.csv"})).check()


def test_digits() -> None:
    """64 columns; a standard normal model's bits per dimension follow from its likelihood and the offsets."""
    problem = Digits(options=options_from_json(Digits, {"hidden": (4,)}))
    problem.check()
    assert problem.dim == 64
    assert len(problem.splits.train) == 1457
    model = problem.model(0)
    model.set_theta(torch.zeros_like(model.theta()))
    z = problem.test_samples()
    nll = 0.5 * float(z.square().sum(1).mean()) + 32 * np.log(2 * np.pi)
    assert negative_log_likelihood(model, z) == pytest.approx(nll, rel=1e-9)
    metrics = problem.evaluate_further(model, nll).metrics
    expected = (nll - float(np.mean(problem.splits.offsets["test"]))) / (64 * np.log(2))
    assert metrics["bits_per_dim"] == pytest.approx(expected, rel=1e-9)
    assert 4 < expected < 8


def test_bits_per_dimension_are_of_the_rows_that_are_evaluated() -> None:
    """Images differ in their offset, so that the mean over other images gives other bits."""
    problem = Digits(options=options_from_json(Digits, {"hidden": (4,), "test_rows": 7}))
    offsets = problem.splits.offsets["test"]
    assert abs(float(np.mean(offsets[:7])) - float(np.mean(offsets))) > 0.1
    metrics = problem.evaluate_further(problem.model(0), 90.0).metrics
    expected = (90.0 - float(np.mean(offsets[:7]))) / (64 * np.log(2))
    assert metrics["bits_per_dim"] == pytest.approx(expected, rel=1e-12)


def test_options_shape_the_flow(table: Path) -> None:
    problem = user_table(table, blocks=3, horizon=0.5, trainable_horizon=True, activation="softplus", hidden=(4, 5))
    model = problem.model(0)
    assert len(model.fields) == 3
    assert model.theta().numel() == 3 * problem.field_spec.n_params + 3
    assert problem.field_spec.widths == (3, 4, 5, 3)
    assert user_table(table, divergence="exact").training_divergence == Exact()


def test_running_costs_are_added_with_their_weights(table: Path) -> None:
    """Linear in the weight; the gradient's counts stay those of one solve."""
    method = OptDisc(rtol=1e-6, atol=1e-6)
    values = []
    for weight in (0.0, 0.5, 1.0):
        problem = user_table(table, kinetic=weight, jacobian=2 * weight)
        objective = problem.objective(method, problem.model(0), problem.batch(0))
        values.append(float(objective.loss.detach()))
        assert len(objective.solves) == 1
    assert values[2] - values[1] == pytest.approx(values[1] - values[0], rel=1e-4)
    assert values[1] > values[0]


@pytest.mark.parametrize(
    ("option", "value", "message"),
    [
        ("kinetic", -1.0, "kinetic = -1.0"),
        ("jacobian", float("nan"), "jacobian = nan"),
        ("batch", 0, "batch = 0"),
        ("hidden", (), "hidden"),
        ("hidden", (3, -1), "hidden"),
        ("rows", 1, "rows = 1"),
    ],
)
def test_bad_options_are_named(option: str, value: Any, message: str) -> None:
    with pytest.raises(InvalidArgument, match=message):
        options_from_json(NpyTable, {option: value})


def test_unknown_options_are_named() -> None:
    with pytest.raises(InvalidArgument, match="npy has no such option"):
        options_from_json(NpyTable, {"nosuch": 1})
    with pytest.raises(UnknownName, match="gaussian"):
        FlowOptions(divergence="gausian")
