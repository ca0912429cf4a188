"""The protocol of all entrants: built once from a workload, then asked for its gradient and to do its work."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, field
from importlib.util import find_spec
from typing import ClassVar

from experiments.benchmarks.workload import Array, Workload

FULL = "full"

PRECISIONS = (FULL, "tf32", "bf16")
"""Names of precisions as in `pynode.precision`, which imports torch."""


@dataclass(frozen=True)
class Gradient:
    """A loss, its gradient `(params,)` by theta, and what it took as far as that is known (n_f, n_vjp, ...).

    For a module the gradient by the initial states follows that by theta.  `engine` is that of pynode which ran.
    """

    loss: float
    theta: Array
    counts: Mapping[str, int] = field(default_factory=dict)
    engine: str = ""


class Entrant(ABC):
    """One implementation.  It lives in a process of its own whose threads were set before anything was imported.

    Subclasses import what they measure inside their methods: to list and to skip entrants, nothing heavy is loaded.
    """

    name: ClassVar[str]
    packages: ClassVar[tuple[str, ...]] = ()
    """Packages beyond pynode's own that must be there."""
    distributions: ClassVar[tuple[str, ...]] = ("torch",)
    """Whose versions are recorded."""
    slow_to_compile: ClassVar[bool] = False
    """Whether compiling takes so long that where time is short only the numbers' type that is timed is compared."""
    caches: ClassVar[bool] = False
    """Whether compiled code is kept on disk: then the first call is measured without it and with it."""

    @classmethod
    def missing(cls) -> str | None:
        """What has to be installed before this can take part, as a sentence."""
        absent = [p for p in cls.packages if find_spec(p) is None]
        if not absent:
            return None
        return f"{', '.join(absent)} not installed; pip install -e '.[peers]'"

    @classmethod
    def unfit(cls, workload: Workload) -> str | None:  # noqa: ARG003
        """Why this is no work for this entrant, as a sentence; None where it is."""
        return None

    @classmethod
    def variants(cls, workload: Workload) -> tuple[str, ...]:  # noqa: ARG003
        """Ways of doing it that are measured apart; the empty one is the entrant itself."""
        return ("",)

    @abstractmethod
    def __init__(self, workload: Workload, variant: str, dtype: str) -> None:
        """Builds all that can be built before the clock runs, in numbers of type `dtype`."""

    @abstractmethod
    def gradient(self) -> Gradient:
        """Loss and gradient at the workload's theta, in the way in which `work` takes them."""

    @abstractmethod
    def reset(self) -> None:
        """Back to the workload's theta and to an optimiser that has not seen anything."""

    @abstractmethod
    def work(self) -> None:
        """One unit of the workload, complete when this returns."""

    def memory(self) -> int | None:
        """Peak bytes of the GPU in a unit of work, beyond those taken before this was built; None: not known."""
        return None

    @abstractmethod
    def theta(self) -> Array:
        """The parameters as they are now, float64."""


def label(name: str, variant: str) -> str:
    """The name of an entrant in one of its variants."""
    return f"{name} {variant}" if variant else name


def precision_of(variant: str) -> str:
    """The precision of products in a variant: its last word, if it is one."""
    last = variant.split()[-1] if variant else FULL
    return last if last in PRECISIONS else FULL


def by_precision(workload: Workload, known: tuple[str, ...] = PRECISIONS) -> tuple[str, ...]:
    """A variant for each precision that the workload asks for, of those `known`."""
    return tuple("" if precision == FULL else precision for precision in workload.precisions if precision in known)
