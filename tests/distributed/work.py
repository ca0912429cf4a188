"""What the ranks of the tests compute, each in a process of its own: python work.py WHAT ARGUMENT...

`share OUT TABLE`: losses, gradients and evaluations, added up over three ranks into OUT/3 by the writer, where other
files say what each rank saw; then over the first two into OUT/2, and by the third alone into OUT/1.

`fault SECONDS`: exchanges for ever, with that time limit.
"""

from __future__ import annotations

import hashlib
import json
import os
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from pynode.distributed import join, leave
from pynode.engines.eager.watch import AdaptiveWatch
from pynode.errors import RankLost, SolveError
from pynode.evaluation import CountedField
from pynode.methods.base import GradientMethod, method_from_json
from pynode.problems import PROBLEMS
from pynode.problems.base import options_from_json
from pynode.problems.density import base as density
from pynode.problems.density import toys
from pynode.solution import SolveStats
from pynode.world import World, shared_among

BATCH, ITERATION = 101, 3
STEPS = {"scheme": "rk38", "steps": 4}
TOLERANCES = {"rtol": 1e-6, "atol": 1e-8, "engine": "eager"}

METHODS: dict[str, dict[str, Any]] = {
    "eager": {"method": "disc-opt", **STEPS, "engine": "eager"},
    "fused": {"method": "disc-opt", **STEPS, "engine": "fused"},
    "fused-recompute": {"method": "disc-opt", **STEPS, "engine": "fused", "memory": "recompute"},
    "recompute": {"method": "disc-opt", **STEPS, "engine": "eager", "memory": "recompute"},
    "checkpoint": {"method": "disc-opt", **STEPS, "memory": "checkpoint"},
    "fixed-explicit": {"method": "opt-disc-fixed", **STEPS},
    "fixed-implicit": {"method": "opt-disc-fixed", "scheme": "euler", "steps": 2, "adjoint": "backward-euler"},
    "mixed": {"method": "opt-disc", **TOLERANCES},
    "seminorm": {"method": "opt-disc", **TOLERANCES, "adjoint_norm": "seminorm"},
    "rms": {"method": "opt-disc", **TOLERANCES, "adjoint_norm": "rms", "landing": True},
    "dopri8": {"method": "opt-disc", **TOLERANCES, "solver": "dopri8"},
}

SMALL = {"hidden": (8,), "batch": BATCH}
COSTS = {"blocks": 2, "kinetic": 0.3, "jacobian": 0.2}
PROBLEMS_POSED: dict[str, tuple[str, dict[str, Any]]] = {
    "8gaussians": ("8gaussians", SMALL),
    "horizon and costs": ("8gaussians", {**SMALL, **COSTS, "trainable_horizon": True}),
    "gaussian": ("npy", {**SMALL, "blocks": 2}),
    "rademacher and costs": ("npy", {**SMALL, **COSTS, "divergence": "rademacher"}),
}

CASES: dict[str, tuple[str, ...]] = {
    "8gaussians": tuple(METHODS),
    "horizon and costs": ("eager", "recompute", "mixed"),
    "gaussian": ("eager", "fused", "rms"),
    "rademacher and costs": ("eager", "fused", "mixed", "seminorm"),
}


def cases() -> Iterator[tuple[str, str]]:
    """Problem and method."""
    yield from ((problem, method) for problem, methods in CASES.items() for method in methods)


def pose(name: str, table: str, world: World) -> Any:
    """The problem on this rank, and a model that is no longer the initial one."""
    kind = PROBLEMS.load(PROBLEMS_POSED[name][0])
    options = dict(PROBLEMS_POSED[name][1])
    if kind.name == "npy":
        options["data"] = table
    problem = kind(seed=3, options=options_from_json(kind, options), world=world)
    problem.check()
    return problem


def share(out: Path, table: str, world: World) -> None:
    """Sums over the ranks of losses and gradients of an iteration; validation and evaluation."""
    numbers: dict[str, Tensor] = {}
    for name, how in cases():
        problem = pose(name, table, world)
        model = problem.model(1)
        method = method_from_json(METHODS[how])
        batch = problem.batch(ITERATION)
        rows = torch.tensor([float(len(batch.x))])
        with shared_among(world):
            objective = problem.objective(method, model, batch)
        objective.backward()
        gradient = torch.cat([p.grad.reshape(-1) for p in model.parameters()])
        loss = objective.loss.detach().reshape(1).clone()
        world.sum_(loss, gradient, rows)
        assert int(rows) == BATCH
        stats = objective.stats
        work = torch.tensor([*vars(stats.forward).values(), *vars(stats.backward).values()])
        key = f"{name}|{how}"
        numbers |= {f"{key}|loss": loss, f"{key}|gradient": gradient, f"{key}|work": work}
    density.SHOWN, toys.GRID = 50, 20
    for name, density.CHUNK in (("8gaussians", 300), ("gaussian", 7)):  # so that there are several to divide
        problem = pose(name, table, world)
        model = problem.model(1)
        numbers[f"{name}|validation"] = torch.tensor([problem.validation_loss(model)], dtype=torch.float64)
        evaluation = problem.evaluate(model, method_from_json(METHODS["eager"])).metrics
        numbers[f"{name}|evaluation"] = torch.tensor(list(evaluation.values()), dtype=torch.float64)
        held_out = problem.validation_samples()
        held_out[-1] = 1e200  # of one rank's share
        problem.validation_samples = lambda rows=held_out: rows
        numbers[f"{name}|one row"] = torch.tensor([problem.validation_loss(model)], dtype=torch.float64)
        model.set_theta(torch.full_like(model.theta(), float("nan")))
        numbers[f"{name}|all rows"] = torch.tensor([problem.validation_loss(model)], dtype=torch.float64)
    numbers["broadcast"] = torch.tensor(list(world.broadcast(b"\x00bytes\xff" if world.is_writer else None)))
    assert world.broadcast(b"" if world.is_writer else None) == b""
    if world.size > 1:
        failures(world)
    digests = {k: hashlib.sha256(v.numpy().tobytes()).hexdigest() for k, v in numbers.items()}
    (out / f"rank{world.rank}.json").write_text(json.dumps(digests))
    if world.is_writer:
        torch.save(numbers, out / "found.pt")


class BlowingUp(nn.Module):
    """dy/dt = y^3: infinite before t = 1 where |y| > 1 / sqrt(2)."""

    def __init__(self) -> None:
        super().__init__()
        self.factor = nn.Parameter(torch.ones((), dtype=torch.float64))

    def forward(self, t: Tensor, y: Tensor) -> Tensor:  # noqa: ARG002
        return self.factor * y**3


def failures(world: World) -> None:
    """What only one rank's samples do ends the solves of all ranks, at the same place, forward and backward."""
    ts = torch.tensor([0.0, 0.5, 1.0], dtype=torch.float64)
    last = world.rank == world.size - 1

    def raised(method: GradientMethod, y0: float, cotangent: float = 1.0) -> str:
        field = BlowingUp()
        try:
            with shared_among(world):
                ys = method.solve(field, torch.full((2, 3), y0, dtype=torch.float64), ts).ys
            ys.backward(torch.full_like(ys, cotangent))
        except SolveError as error:
            return f"{error.phase} {error.t < 1}"
        return "none"

    for norm in ("mixed", "seminorm"):
        method = method_from_json({"method": "opt-disc", **TOLERANCES, "adjoint_norm": norm, "max_steps": 300})
        assert raised(method, 0.1) == "none"
        assert raised(method, 2.0 if last else 0.1) == "forward True"
        # the rank whose loss is at fault says so, with the first time of it
        assert raised(method, 0.1, float("nan") if last else 1.0) == ("backward True" if last else "backward False")
    watch = AdaptiveWatch(CountedField(lambda t, y: y, SolveStats().forward), SolveStats(), world=world)
    try:
        watch.check_outputs(ts, torch.full((3, 1), float("nan") if last else 0.0))
    except SolveError:
        pass
    else:
        raise AssertionError("a rank's states are NaN, and this rank does not know")
    check = torch.ones(1)
    world.sum_(check)  # all are at the same place still
    assert int(check) == world.size


def fault(world: World) -> None:
    """Exchanges until a rank is lost; says so, and when the last exchange was."""
    print("ready", os.getpid(), flush=True)
    while True:
        start = time.monotonic()
        try:
            world.sum_(torch.ones(1000))
        except RankLost as error:
            print(f"{time.monotonic() - start:.3f} {error}", flush=True)
            leave()  # connections are broken by now, and it has to bear that
            raise SystemExit(error.exit_status) from None
        time.sleep(0.01)


if __name__ == "__main__":
    torch.set_num_threads(1)
    if sys.argv[1] == "share":
        here = join("cpu", 120.0)
        share(Path(sys.argv[2]) / "3", sys.argv[3], here)
        leave()
        os.environ |= {"WORLD_SIZE": "2", "LOCAL_WORLD_SIZE": "2"} if here.rank < 2 else {"WORLD_SIZE": "1"}
        here = join("cpu", 120.0)
        share(Path(sys.argv[2]) / str(here.size), sys.argv[3], here)
    else:
        try:
            here = join("cpu", float(sys.argv[2]))
        except RankLost as lost:
            print(lost, flush=True)
            raise SystemExit(lost.exit_status) from None
        fault(here)
    leave()
