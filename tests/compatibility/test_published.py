"""The published records reproduce: the first iterations again, from the configurations that were recorded with them."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from pynode.engines.fused import unavailable
from pynode.records.iteration import IterationRecord
from pynode.records.runs import load_run
from pynode.training.restore import config_of
from pynode.training.trainer import train

PUBLISHED = Path(__file__).resolve().parents[2] / "experiments" / "published"

ROUNDING = 1e-11
"""Relative: sums in another order (another engine, another processor) were seen to change ten losses by 5e-14."""

FIXED = {
    # run: how many of its iterations are made again
    "study/spiral/disc-opt-rk4-x1-seed0": 10,
    "study/spiral-converged/disc-opt-rk4-x1-seed3": 10,
    "study/spiral-eager/disc-opt-rk4-x1-seed1": 10,
    "study/spiral-tolerances/disc-opt-rk4-x2-seed0": 10,
    "study/spiral-tolerances/disc-opt-rk4-x4-seed0": 10,
    "study/8gaussians-steps/disc-opt-rk38-x4-seed0": 3,
    "study/8gaussians-multilevel/disc-opt-rk38-levels-2-5-10-seed0": 3,
    "study/digits/disc-opt-rk38-x4-seed0": 2,
}
ADAPTIVE = {
    "study/spiral/opt-disc-dopri5-rtol1e-07-seed0": 10,
    "study/spiral-converged/opt-disc-dopri5-rtol1e-07-seed4": 10,
    "study/spiral-eager/opt-disc-dopri5-rtol1e-07-seed2": 3,
    "study/spiral-tolerances/opt-disc-dopri5-rtol1e-05-seed0": 10,
    "study/spiral-tolerances/opt-disc-dopri5-rtol1e-09-seed0": 10,
    "study/8gaussians-steps/opt-disc-dopri5-rtol1e-05-seed0": 2,
    "study/digits/opt-disc-dopri5-rtol1e-05-seed0": 2,
}
"""Sets of rows are not in the repository, so runs on them can't be made again; float32 differs by processor."""


class Enough(Exception):
    """As many iterations as the test wants were made."""


def folder_of(run: str) -> Path:
    """The directory of a run of these tables."""
    part, _, label = run.rpartition("/")
    return PUBLISHED / part / "runs" / label


def again(run: str, count: int, directory: Path) -> tuple[list[IterationRecord], list[IterationRecord]]:
    """The first `count` records of a published run, and those that today's pynode makes of its configuration.

    The run is broken off there; it validates its first iteration only.
    """
    folder = folder_of(run)
    then, now = load_run(folder).records[:count], list[IterationRecord]()
    if then[0].engine == "fused" and (reason := unavailable()):
        pytest.skip(reason)

    def listen(record: IterationRecord) -> None:
        now.append(record)
        if len(now) == count:
            raise Enough

    with pytest.raises(Enough):
        train(replace(config_of(folder), validate_every=10**6, memory_every=10**6), directory, listener=listen)
    return then, now


@pytest.mark.parametrize(("run", "count"), FIXED.items(), ids=FIXED)
def test_disc_opt_to_rounding(run: str, count: int, tmp_path: Path) -> None:
    then, now = again(run, count, tmp_path / "run")
    assert [r.loss for r in now] == pytest.approx([r.loss for r in then], rel=ROUNDING)
    assert [r.gradient_norm for r in now] == pytest.approx([r.gradient_norm for r in then], rel=100 * ROUNDING)
    assert [(r.nfe_forward, r.nfe_backward) for r in now] == [(r.nfe_forward, r.nfe_backward) for r in then]


@pytest.mark.parametrize(("run", "count"), ADAPTIVE.items(), ids=ADAPTIVE)
def test_opt_disc_to_its_tolerances(run: str, count: int, tmp_path: Path) -> None:
    """The first loss and gradient to the tolerance itself; later ones follow weights that differ by as much."""
    then, now = again(run, count, tmp_path / "run")
    rtol = float(config_of(folder_of(run)).method.setting)
    assert now[0].loss == pytest.approx(then[0].loss, rel=rtol)
    assert now[0].gradient_norm == pytest.approx(then[0].gradient_norm, rel=rtol)
    assert [r.loss for r in now] == pytest.approx([r.loss for r in then], rel=100 * rtol)
