"""What several ranks compute together is what one process computes, whoever takes which rows."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from filelock import FileLock
from torch import Tensor

from pynode.errors import InvalidArgument
from pynode.methods.ad_adaptive import AdaptiveAD
from pynode.methods.disc_opt import DiscOpt
from pynode.methods.opt_disc import OptDisc
from pynode.problems import PROBLEMS
from pynode.problems.base import options_from_json
from pynode.schemes.rk4 import RK4
from pynode.world import ALONE, World
from tests.distributed.conftest import Start
from tests.distributed.work import CASES

SIZES = (2, 3)


@pytest.fixture(scope="session")
def numbers(start: Start, tmp_path_factory: pytest.TempPathFactory) -> Mapping[int, dict[str, Tensor]]:
    """All numbers of work.py by the number of ranks; every rank has ended well, and all saw the same bits."""
    base = tmp_path_factory.getbasetemp()
    folder = (base.parent if "PYTEST_XDIST_WORKER" in os.environ else base) / "ranks"  # one for all workers of xdist
    with FileLock(f"{folder}.lock"):
        if not folder.exists():
            folder.mkdir()
            work(start, folder)
    return {size: torch.load(folder / str(size) / "found.pt", weights_only=True) for size in (1, *SIZES)}


def work(start: Start, folder: Path) -> None:
    """Three processes: first all together, then two of them and one alone."""
    generator = np.random.default_rng(0)
    np.save(folder / "table.npy", generator.standard_normal((220, 5)) @ generator.standard_normal((5, 5)))
    for size in (1, *SIZES):
        (folder / str(size)).mkdir()
    ranks = start(3, folder, "share", folder, folder / "table.npy")
    said = [process.communicate()[0] for process in ranks]
    assert [process.returncode for process in ranks] == [0, 0, 0], "\n".join(said)
    for size in SIZES:
        digests = [json.loads((folder / str(size) / f"rank{r}.json").read_text()) for r in range(size)]
        for digest in digests:
            digest.pop("8gaussians|fixed-implicit|work")  # GMRES may need another number of products for another share
        assert all(digest == digests[0] for digest in digests)


def relative(a: Tensor, b: Tensor) -> float:
    """Distance of `a` from `b`, relative to `b`."""
    return float((a - b).norm() / b.norm())


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize(("problem", "method"), [(p, m) for p, methods in CASES.items() for m in methods])
def test_losses_and_gradients_add_up(
    numbers: Mapping[int, dict[str, Tensor]], problem: str, method: str, size: int
) -> None:
    """101 rows on two and three ranks.  Only the order of sums differs, and what GMRES (to 1e-12) leaves."""
    key = f"{problem}|{method}"
    one, several = numbers[1], numbers[size]
    tolerance = 1e-11 if method == "fixed-implicit" else 1e-12
    assert relative(several[f"{key}|loss"], one[f"{key}|loss"]) < tolerance
    gradient = one[f"{key}|gradient"]
    assert float(gradient.norm()) > 0.01
    assert relative(several[f"{key}|gradient"], gradient) < tolerance
    if method != "fixed-implicit":
        # an adaptive method takes the very steps of one process, there and back
        assert torch.equal(several[f"{key}|work"], one[f"{key}|work"])


@pytest.mark.parametrize("size", SIZES)
def test_what_judges_a_model_has_the_same_bits(numbers: Mapping[int, dict[str, Tensor]], size: int) -> None:
    """Validation and evaluation, which ranks divide by chunks; and one rank's failure is everybody's."""
    for problem in ("8gaussians", "gaussian"):
        for what in ("validation", "evaluation", "one row", "all rows"):
            assert torch.equal(numbers[size][f"{problem}|{what}"], numbers[1][f"{problem}|{what}"]), what
        assert torch.isfinite(numbers[1][f"{problem}|validation"]).all()
        for what in ("one row", "all rows"):
            assert numbers[1][f"{problem}|{what}"].tolist() == [float("inf")]


@pytest.mark.parametrize("size", [1, *SIZES])
def test_a_broadcast_arrives_whole(numbers: Mapping[int, dict[str, Tensor]], size: int) -> None:
    """Zero bytes and all."""
    assert bytes(numbers[size]["broadcast"].tolist()) == b"\x00bytes\xff"


def test_shares_are_contiguous_and_fair() -> None:
    """Every row once, sizes at most one apart, whatever the numbers."""
    for n in (0, 1, 5, 100, 101):
        for size in (1, 2, 3, 7):
            parts = [list(range(n))[World(rank, size).share(n)] for rank in range(size)]
            assert [k for part in parts for k in part] == list(range(n))
            lengths = [len(part) for part in parts]
            assert max(lengths) - min(lengths) <= 1


def test_alone_nothing_is_exchanged() -> None:
    """One process writes, keeps its numbers, and hears itself."""
    x = torch.tensor([1.0, float("nan")])
    ALONE.sum_(x)
    ALONE.barrier()
    assert x[0] == 1
    assert ALONE.is_writer
    assert ALONE.broadcast(b"x") == b"x"
    with pytest.raises(TypeError, match="writer"):
        ALONE.broadcast(None)
    assert not World(1, 2).is_writer


def test_the_batch_of_one_process_is_divided() -> None:
    """Rows and their probes, in order."""
    kind: Any = PROBLEMS.load("8gaussians")
    options = options_from_json(kind, {"batch": 11, "divergence": "gaussian"})
    whole = kind(options=options, seed=4).batch(2)
    parts = [kind(options=options, seed=4, world=World(r, 3)).batch(2) for r in range(3)]
    assert torch.equal(torch.cat([part.x for part in parts]), whole.x)
    assert torch.equal(torch.cat([part.draw.drawn[0] for part in parts]), whole.draw.drawn[0])
    assert {part.of for part in parts} == {whole.of} == {11}


def test_what_ranks_cant_share_is_refused_before_work_starts() -> None:
    """A trajectory; fewer rows than ranks."""
    spiral, toy = (PROBLEMS.load(name) for name in ("spiral", "8gaussians"))
    spiral().check()
    with pytest.raises(InvalidArgument, match=r"WORLD_SIZE = 2: .*spiral.* without torchrun"):
        spiral(world=World(0, 2)).check()
    options = options_from_json(toy, {"batch": 3})
    toy(options=options, world=World(0, 3)).check()
    with pytest.raises(InvalidArgument, match="batch = 3: fewer rows than the 4 ranks"):
        toy(options=options, world=World(0, 4)).check()


def test_methods_among_ranks() -> None:
    """Fixed steps are the same for all; the adaptive ones share their norms, or are refused."""
    two = World(0, 2)
    for able in (DiscOpt(RK4), OptDisc(), OptDisc(adjoint="backsolve")):
        able.check_ranks(two)
    for method, named in (
        (OptDisc(engine="fused"), "engine = 'fused'"),
        (OptDisc(solver="tsit5"), "engine = 'fused'"),
        (AdaptiveAD(), "engine = 'eager': with ad-adaptive"),
    ):
        method.check_ranks(ALONE)
        with pytest.raises(InvalidArgument, match=named):
            method.check_ranks(two)
