"""What every case gives: the workloads of each suite."""

from __future__ import annotations

from abc import ABC
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, ClassVar

from experiments.benchmarks.workload import Workload

if TYPE_CHECKING:
    import torch


class Case(ABC):
    """A problem as workloads; a case that has nothing for a suite leaves it empty."""

    name: ClassVar[str]

    def workloads(self, *, quick: bool) -> Sequence[Workload]:  # noqa: ARG002
        """For the suites `cpu` and `gpu`."""
        return ()

    def scaling(self, *, quick: bool) -> Sequence[Workload]:  # noqa: ARG002
        """Families of workloads that differ in one number, their `axis`."""
        return ()


def scheme_options(name: str) -> dict[str, Any]:
    """The fields of a workload that say by which scheme it is solved."""
    from pynode.schemes import SCHEMES

    scheme = SCHEMES.load(name)
    return {"scheme": name, "tableau": {"a": [list(row) for row in scheme.a], "b": scheme.b, "c": scheme.c}}


def numbers(tensor: torch.Tensor) -> Any:
    """A tensor as an array of float64."""
    return tensor.detach().double().cpu().numpy()
