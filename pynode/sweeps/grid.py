"""From axes to cells: every combination of values that belong together, each with a directory of its own."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from itertools import product
from pathlib import Path
from typing import Any

from pynode.datasets.sources import file_digest
from pynode.errors import InvalidArgument
from pynode.methods.base import GradientMethod
from pynode.problems import PROBLEMS
from pynode.settings.known import method_options, problem_options
from pynode.settings.values import shown
from pynode.sweeps.axes import DATA, Axes
from pynode.sweeps.cells import Cell, SweepError
from pynode.sweeps.needs import Needs
from pynode.training.config import RunConfig, default_method
from pynode.training.machine import check_size
from pynode.training.plan import check_available, configure

SAID = ("scheme", "solver", "steps", "rtol")
"""Options that the label of a method says already."""

DEVICES = ("cpu", "cuda")


def make_cells(axes: Axes, needs: Needs) -> list[Cell]:
    """The cells of `axes` by problem, method, options and seed, in that order.

    Raises `UsageError` for values that no run can have, for missing data, for methods that this machine can't run, and
    `SweepError` for cells that are the same run or would share a directory.
    """
    for device in axes.settings.get("device", []):
        if device not in DEVICES:
            raise InvalidArgument(
                "device", device, "no kind of device for a sweep", "use cpu or cuda; gpus says how many"
            )
    cells: dict[str, Cell] = {}
    sizes: dict[str, int] = {}
    methods: list[GradientMethod] = []
    digests = {path: _digest(Path(path)) for path in axes.of_problems.get(DATA, [])}
    for problem in axes.problems:
        for method, values, seed in _combinations(axes, problem):
            config = _configure(axes, problem, method, values, seed, digests)
            methods.append(config.method)
            if (key := repr((problem, config.options, config.dtype, config.faithful, config.method))) not in sizes:
                sizes[key] = _size(config)
            device = str(values.get("device", "cpu"))
            cpus, gpus = needs.of(problem, method, device)
            # the GPU may be on another machine only, so the configuration was checked without
            plain = json.loads(json.dumps({**config.to_json(), "device": device}))
            cell = Cell(problem, _label(axes, config, values), plain, cpus, gpus, sizes[key])
            if cell.name in cells:
                raise _clash(cells[cell.name], cell)
            cells[cell.name] = cell
    check_available(methods)
    return list(cells.values())


def _combinations(axes: Axes, problem: str) -> Iterator[tuple[str, dict[str, Any], int]]:
    """Method, values by the names of their axes, seed."""
    options = {f"set.{name}": v for name, v in axes.of_problems.items() if name in problem_options(problem)}
    for method in axes.methods:
        known = method_options(method)
        mine = {**axes.settings, **{k: v for k, v in axes.of_methods.items() if k in known}, **options}
        for values in product(*mine.values()):
            for seed in axes.seeds:
                yield method, dict(zip(mine, values, strict=True)), seed


def _size(config: RunConfig) -> int:
    """Parameters x rows of a batch; raises `UsageError` for what would stop the run before it begins."""
    problem = config.make_problem()
    problem.check()
    check_size(problem, config.method)
    return sum(p.numel() for p in problem.model(config.seed).parameters()) * getattr(problem, "batch_rows", 1)


def _digest(path: Path) -> str | None:
    """None for what is no file: that is told when it is read."""
    return file_digest(path).hexadecimal if path.is_file() else None


def _configure(
    axes: Axes, problem: str, method: str, values: Mapping[str, Any], seed: int, digests: Mapping[str, str | None]
) -> RunConfig:
    kind = PROBLEMS.load(problem)
    of_method = {name: value for name, value in values.items() if name in axes.of_methods}
    options = {name.removeprefix("set."): value for name, value in values.items() if name.startswith("set.")}
    settings = {name: value for name, value in values.items() if name in axes.settings and name != "device"}
    if (digest := digests.get(options.get(DATA, ""))) is not None:
        options["sha256"] = digest
    chosen = default_method(kind, method, **of_method)
    return configure(kind, chosen, problem_options=options, seed=seed, **settings)


def _label(axes: Axes, config: RunConfig, values: Mapping[str, Any]) -> str:
    """The run's label, and the values of those axes that it does not say."""
    every = axes.to_json()
    further = [name for name in values if name not in SAID and len(every[name]) > 1]
    words = [f"{name.removeprefix('set.')}{_word(_short(name, values[name]))}" for name in further]
    setting, _, seed = config.label.rpartition("-")
    return "-".join((setting, *words, seed))


def _short(axis: str, value: Any) -> Any:
    """A path by its last two parts: the name of a folder has room for little more."""
    return "/".join(Path(value).parts[-2:]) if axis == f"set.{DATA}" else value


def _word(value: Any) -> str:
    """A value as part of a folder's name."""
    text = "-".join(map(str, value)) if isinstance(value, list) else shown(value)
    return re.sub(r"[^A-Za-z0-9.+-]", "_", text)


def _clash(first: Cell, second: Cell) -> SweepError:
    """The error for two cells of one name."""
    differences = _differences(first.config, second.config)
    if not differences:
        return SweepError(f"{first.name} is in the grid twice; take the values that make no difference out of an axis")
    told = "; ".join(f"{name} = {shown(a)} and {name} = {shown(b)}" for name, a, b in differences)
    return SweepError(
        f"two cells would share the directory {first.name}: {told}; "
        "take values whose first digits differ, or sweep them apart, each with an --out of its own"
    )


def _differences(first: Mapping[str, Any], second: Mapping[str, Any]) -> list[tuple[str, Any, Any]]:
    differences = []
    for name in first:
        a, b = first[name], second[name]
        if isinstance(a, Mapping) and isinstance(b, Mapping):
            differences += _differences({**dict.fromkeys(b), **a}, {**dict.fromkeys(a), **b})
        elif a != b:
            differences.append((name, a, b))
    return differences
