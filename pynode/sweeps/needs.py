"""What cells need of a machine: CPUs and GPUs, for all alike or by problem and method."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from pynode.errors import InvalidArgument, UnknownName
from pynode.methods import METHODS
from pynode.problems import PROBLEMS
from pynode.registry import Registry

RESOURCES = ("cpus", "gpus")
KEYS: dict[str, Registry[Any]] = {"problem": PROBLEMS, "method": METHODS}


@dataclass(frozen=True)
class Needs:
    """`cpus` of a cell (its threads) and `gpus` (at most 1; None: one for a cell on cuda, none else).

    `special[key][name]` holds what a problem or method (`key`) called `name` needs instead; where both its problem and
    its method say something, a cell gets the larger number.
    """

    cpus: int = 1
    gpus: float | None = None
    special: Mapping[str, Mapping[str, Mapping[str, float]]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        _check("cpus", self.cpus)
        if self.gpus is not None:
            _check("gpus", self.gpus)

    def to_json(self) -> dict[str, Any]:
        """What stands in a sweep's file, by the names that it has there."""
        gpus = {} if self.gpus is None else {"gpus": self.gpus}
        return {"cpus": self.cpus, **gpus, "needs": dict(self.special)}

    def of(self, problem: str, method: str, device: str) -> tuple[int, float]:
        """CPUs and GPUs of a cell; raises `InvalidArgument` where GPUs and `device` contradict each other."""
        needed = {"cpus": float(self.cpus), "gpus": float(device == "cuda") if self.gpus is None else float(self.gpus)}
        parts = [self.special.get(key, {}).get(name, {}) for key, name in (("problem", problem), ("method", method))]
        for resource in RESOURCES:
            needed[resource] = max((part[resource] for part in parts if resource in part), default=needed[resource])
        cpus, gpus = int(needed["cpus"]), needed["gpus"]
        if gpus and device != "cuda":
            remedy = "drop it, or add device = cuda to the grid"
            raise InvalidArgument("gpus", f"{gpus:g}", f"{problem} by {method} runs on the {device}", remedy)
        if not gpus and device == "cuda":
            raise InvalidArgument("gpus", 0, f"{problem} by {method} runs on cuda", "give gpus = 1, or a share of one")
        return cpus, gpus


def special_needs(given: Any) -> dict[str, dict[str, dict[str, float]]]:
    """The table `needs` of a sweep's file, checked; it may name problems and methods that the grid has not.

    Raises `UnknownName` for an unknown key, problem, method or resource, `InvalidArgument` for what is not a number.
    """
    needs: dict[str, dict[str, dict[str, float]]] = {}
    for key, part in _table("needs", given).items():
        if key not in KEYS:
            raise UnknownName("key in needs", key, KEYS)
        for name, resources in _table(f"needs.{key}", part).items():
            name = KEYS[key].resolve(name)
            for resource, number in _table(f"needs.{key}.{name}", resources).items():
                if resource not in RESOURCES:
                    raise UnknownName(f"resource in needs.{key}.{name}", resource, RESOURCES)
                _check(resource, number, where=f"needs.{key}.{name}.")
            needs.setdefault(key, {})[name] = dict(resources)
    return needs


def _table(where: str, given: Any) -> Mapping[str, Any]:
    if not isinstance(given, Mapping):
        raise InvalidArgument(where, given, "not a table", "write e.g. [needs.problem.miniboone] and cpus = 2 below it")
    return given


def _check(resource: str, number: Any, where: str = "") -> None:
    """Raises `InvalidArgument` for what is no number of CPUs or GPUs."""
    if resource == "cpus":
        if type(number) is not int or number < 1:
            raise InvalidArgument(f"{where}cpus", number, "not a positive integer", "use 1 or more")
    elif isinstance(number, bool) or not isinstance(number, (int, float)) or not 0 <= number < float("inf"):
        raise InvalidArgument(f"{where}gpus", number, "no number of GPUs", "use 0, a share of one such as 0.5, or 1")
    elif number > 1:
        raise InvalidArgument(
            f"{where}gpus",
            number,
            "a cell is one process, which uses one GPU",
            "use 1; a run on several is: torchrun --nproc-per-node N experiments/run.py compare",
        )
