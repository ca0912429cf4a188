"""Training: repeatable, recorded, resumable, and plain about what went wrong."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from pynode.errors import (
    ConfigurationMismatch,
    InvalidArgument,
    NonFiniteLoss,
    OutputDirectoryError,
    RecordError,
    SolveError,
)
from pynode.methods.disc_opt import DiscOpt
from pynode.methods.opt_disc import OptDisc
from pynode.problems.series.spiral import Spiral
from pynode.records.files import read_json, read_lines
from pynode.records.iteration import IterationRecord, is_timed
from pynode.records.runs import load_run
from pynode.training.config import RunConfig, default_method
from pynode.training.trainer import train
from pynode.training.weights import best_theta
from tests.runs import untimed

CONFIG = RunConfig(
    problem="spiral",
    method=DiscOpt(),
    seed=0,
    iterations=12,
    learning_rate=0.1,
    weight_decay=0.0,
    validate_every=3,
    checkpoint_every=5,
    memory_every=4,
)


def without_times(summary: Mapping[str, Any]) -> dict[str, Any]:
    """A summary without its seconds."""
    return {k: v for k, v in summary.items() if not is_timed(k)}


def test_one_seed_fixes_a_run(tmp_path: Path) -> None:
    first = train(CONFIG, tmp_path / "a")
    torch.rand(7)  # the global random state must not matter
    second = train(CONFIG, tmp_path / "b")
    assert untimed(tmp_path / "a") == untimed(tmp_path / "b")
    assert without_times(first) == without_times(second)
    train(replace(CONFIG, seed=1), tmp_path / "c")
    assert untimed(tmp_path / "c")[0]["loss"] != untimed(tmp_path / "a")[0]["loss"]


def test_records_say_what_happened(tmp_path: Path) -> None:
    summary = train(CONFIG, tmp_path / "run")
    records = read_lines(tmp_path / "run" / "records.jsonl", IterationRecord)
    assert [r.iteration for r in records] == list(range(12))
    assert [r.iteration for r in records if r.validation_loss is not None] == [0, 3, 6, 9, 11]
    assert [r.iteration for r in records if r.peak_memory_bytes is not None] == [0, 4, 8]
    assert [r.iteration for r in records if r.load_average is not None] == [0, 3, 6, 9, 11]
    assert summary["load_average"] == max(r.load_average for r in records if r.load_average is not None)
    assert all((r.nfe_forward, r.nfe_backward, r.n_vjp_backward, r.n_accepted) == (116, 0, 116, 29) for r in records)
    assert all(min(r.seconds_forward, r.seconds_backward, r.seconds_optimiser) > 0 for r in records)
    assert all(r.gradient_norm is not None and r.gradient_norm > 0 for r in records)
    losses = [r.loss for r in records]
    assert [r.best_loss for r in records] == [min(x for x in losses[: i + 1] if x is not None) for i in range(12)]
    assert summary["status"] == "finished"
    assert summary["iterations"] == 12
    assert summary["best_validation_loss"] == min(r.validation_loss for r in records if r.validation_loss is not None)
    assert summary["fit_loss"] == summary["best_validation_loss"]
    environment = read_json(tmp_path / "run" / "environment.json")
    assert {"python", "packages", "processor", "git", "torch_threads"} <= set(environment[0])
    written = RunConfig.from_json(read_json(tmp_path / "run" / "config.json"))
    assert written.decided_engine == records[0].engine
    assert replace(written, decided_engine=None) == CONFIG


def test_the_first_update_is_adams(tmp_path: Path) -> None:
    """The loop against three lines of torch."""
    train(replace(CONFIG, iterations=2), tmp_path / "run")
    spiral = Spiral()
    field = spiral.model(seed=0)
    optimiser = torch.optim.Adam(field.parameters(), lr=0.1)
    losses = []
    for _ in range(2):
        loss = spiral.objective(DiscOpt(), field, spiral.y0).loss
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        losses.append(float(loss.detach()))
    assert [r["loss"] for r in untimed(tmp_path / "run")] == pytest.approx(losses, rel=1e-13)


def test_best_weights_are_kept(tmp_path: Path) -> None:
    config = replace(CONFIG, iterations=40, validate_every=1)
    summary = train(config, tmp_path / "run")
    spiral = Spiral()
    field = spiral.field_spec.build(theta=best_theta(tmp_path / "run", "spiral"))
    assert spiral.validation_loss(field) == summary["best_validation_loss"]
    with pytest.raises(RecordError, match="not of other"):
        best_theta(tmp_path / "run", "other")


def test_a_longer_run_continues_a_shorter_one(tmp_path: Path) -> None:
    train(CONFIG, tmp_path / "whole")
    train(replace(CONFIG, iterations=7), tmp_path / "parts")
    train(CONFIG, tmp_path / "parts", resume=True)
    whole, parts = untimed(tmp_path / "whole"), untimed(tmp_path / "parts")
    # the last iteration of a run is always validated, so the shorter run knows one more validation
    assert parts[6].pop("validation_loss") is not None
    whole[6].pop("validation_loss")
    assert parts == whole


def test_a_finished_run_is_left_alone(tmp_path: Path) -> None:
    first = train(CONFIG, tmp_path / "run")
    before = (tmp_path / "run" / "records.jsonl").read_bytes()
    assert train(CONFIG, tmp_path / "run", resume=True) == read_json(tmp_path / "run" / "summary.json")
    assert (tmp_path / "run" / "records.jsonl").read_bytes() == before
    assert first["status"] == "finished"


def test_nothing_is_overwritten_by_mistake(tmp_path: Path) -> None:
    train(replace(CONFIG, iterations=2), tmp_path / "run")
    with pytest.raises(OutputDirectoryError, match="--resume"):
        train(CONFIG, tmp_path / "run")
    with pytest.raises(ConfigurationMismatch, match=r"learning_rate: 0\.1 -> 0\.2"):
        train(replace(CONFIG, learning_rate=0.2), tmp_path / "run", resume=True)
    with pytest.raises(ConfigurationMismatch, match="only get longer"):
        train(replace(CONFIG, iterations=1), tmp_path / "run", resume=True)


def test_a_damaged_checkpoint_is_named(tmp_path: Path) -> None:
    train(replace(CONFIG, iterations=5), tmp_path / "run")
    (tmp_path / "run" / "checkpoint.safetensors").write_bytes(b"nothing of use")
    with pytest.raises(RecordError, match=r"checkpoint\.safetensors"):
        train(CONFIG, tmp_path / "run", resume=True)


def test_a_diverging_run_keeps_its_records(tmp_path: Path) -> None:
    config = replace(CONFIG, method=DiscOpt(), learning_rate=1e200, iterations=50)
    with pytest.raises((NonFiniteLoss, SolveError), match="iteration"):
        train(config, tmp_path / "run")
    records = read_lines(tmp_path / "run" / "records.jsonl", IterationRecord)
    summary = read_json(tmp_path / "run" / "summary.json")
    assert summary["status"] == "failed"
    assert summary["iterations"] == len(records) > 0
    assert all(r.loss is not None and math.isfinite(r.loss) for r in records)
    assert (tmp_path / "run" / "checkpoint.safetensors").exists()


def test_a_failed_adaptive_solve_says_where(tmp_path: Path) -> None:
    config = replace(CONFIG, method=OptDisc(max_steps=3))
    with pytest.raises(SolveError, match=r"iteration 0: forward solve failed at t = .* with dt = .* and \|f\| ="):
        train(config, tmp_path / "run")


def test_a_run_that_failed_at_once_can_be_resumed(tmp_path: Path) -> None:
    """There are no records then, and that is right: it fails again, in the same words."""
    config = replace(CONFIG, method=OptDisc(max_steps=3))
    said = []
    for resume in (False, True):
        with pytest.raises(SolveError) as caught:
            train(config, tmp_path / "run", resume=resume)
        said.append(str(caught.value))
    assert said[0] == said[1]


def test_an_extended_run_is_not_finished_before_its_end(tmp_path: Path) -> None:
    train(replace(CONFIG, iterations=5), tmp_path / "run")
    seen: list[bool] = []
    train(
        replace(CONFIG, iterations=6),
        tmp_path / "run",
        resume=True,
        listener=lambda _: seen.append((tmp_path / "run" / "summary.json").exists()),
    )
    assert seen == [False]


def test_methods_start_from_the_same_weights() -> None:
    thetas = [replace(CONFIG, method=m).make_problem().model(0).theta() for m in (DiscOpt(), OptDisc())]
    torch.testing.assert_close(thetas[0], thetas[1], rtol=0, atol=0)


def test_the_studys_settings_fit_every_method() -> None:
    assert default_method(Spiral, "disc-opt") == DiscOpt(steps=1)
    study: Any = {"adjoint": "backsolve", "max_steps": 100_000}
    assert default_method(Spiral, "opt-disc", rtol=1e-3) == OptDisc(rtol=1e-3, atol=1e-9, **study)
    other: Any = default_method(Spiral, "opt-disc", adjoint="interpolating")
    assert other.adjoint == "interpolating"


def test_configuration_from_before_the_adjoint_had_a_name_means_backsolve() -> None:
    """So does one that is resumed; what is written down names it."""
    written = replace(CONFIG, method=default_method(Spiral, "opt-disc")).to_json()
    assert written["method"]["adjoint"] == "backsolve"
    for later in ("adjoint", "max_steps", "drift", "landing"):
        del written["method"][later]
    stored = RunConfig.from_json(written)
    assert stored.method == default_method(Spiral, "opt-disc")
    assert stored.check_resumes(written) == {}
    with pytest.raises(ConfigurationMismatch, match="adjoint"):
        replace(stored, method=OptDisc(adjoint="interpolating")).check_resumes(written)


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("iterations", 0),
        ("iterations", True),
        ("learning_rate", 0.0),
        ("learning_rate", math.nan),
        ("weight_decay", -1.0),
        ("seed", -1),
        ("seed", 2**63),
        ("dtype", "float16"),
        ("device", "cuda:99"),
        ("device", "nowhere"),
        ("validate_every", 0),
    ],
)
def test_bad_settings_are_named(field: str, value: Any) -> None:
    with pytest.raises(InvalidArgument, match=field):
        replace(CONFIG, **{field: value})


def test_settings_at_their_bounds_are_taken() -> None:
    """And those just beyond are not: more would never end, or no digit would be right."""
    for good in (
        {"iterations": 10**12, "validate_every": 10**12},
        {"seed": 2**63 - 1},
        {"seed": 0, "weight_decay": 0.0},
        {"method": DiscOpt(steps=10**5)},
        {"method": OptDisc(rtol=1.0, adjoint_rtol=1.0)},
        {"patience": 1, "rate_half_life": 1},
    ):
        replace(CONFIG, **good)
    for argument, wrong in (
        ("iterations", {"iterations": 10**12 + 1}),
        ("checkpoint_every", {"checkpoint_every": 10**12 + 1}),
        ("memory_every", {"memory_every": 0}),
        ("steps", {"method": DiscOpt(steps=10**5 + 1)}),
        ("steps", {"method": DiscOpt(steps=(1, 10**5 + 1))}),
        ("rtol", {"method": OptDisc(rtol=1.01)}),
        ("adjoint_rtol", {"method": OptDisc(rtol=1e-3, adjoint_rtol=1.01)}),
        ("learning_rate", {"learning_rate": math.inf}),
        ("weight_decay", {"weight_decay": math.inf}),
        ("seed", {"seed": True}),
        ("rate_half_life", {"rate_half_life": 0}),
        ("rate_half_life", {"rate_half_life": 2.5}),
    ):
        with pytest.raises(InvalidArgument, match=argument):
            replace(CONFIG, **wrong)


def test_how_often_a_run_validates_and_saves_unless_told() -> None:
    plain = RunConfig("spiral", DiscOpt(), 0, 1, 0.1, 0.0)
    assert (plain.validate_every, plain.checkpoint_every, plain.memory_every) == (10, 50, 150)
    assert (plain.dtype, plain.device, plain.faithful, plain.patience) == ("float64", "cpu", False, None)


def test_a_run_validates_where_it_should_and_at_its_end(tmp_path: Path) -> None:
    """Every third iteration and the last one; memory every fourth; early stops count validations alone."""
    train(replace(CONFIG, iterations=8, validate_every=3, memory_every=4), tmp_path / "run")
    records = load_run(tmp_path / "run").records
    assert [r.iteration for r in records if r.validation_loss is not None] == [0, 3, 6, 7]
    assert [r.iteration for r in records if r.peak_memory_bytes is not None] == [0, 4]
    best = [min(r.loss for r in records[: k + 1] if r.loss is not None) for k in range(8)]
    assert [r.best_loss for r in records] == best


def test_a_longer_run_may_be_asked_for_and_a_shorter_one_not() -> None:
    written = CONFIG.to_json()
    n = CONFIG.iterations
    assert replace(CONFIG, iterations=n + 1).check_resumes(written) == {"iterations": f"{n} -> {n + 1}"}
    assert CONFIG.check_resumes(written) == {}
    with pytest.raises(ConfigurationMismatch, match="can only get longer"):
        replace(CONFIG, iterations=n - 1).check_resumes(written)
