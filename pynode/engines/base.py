"""What an engine is: it says whether it can run a solve, and runs it."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import Any, ClassVar

from pynode.errors import EngineUnavailable
from pynode.precision import FULL
from pynode.solve import Recipe, Run, Solve


class Engine(ABC):
    """Runs solves.  Engines have no options and no state; `pynode.engines.choice` makes one object of each.

    `title` is what messages call it.  `label` is what it adds to the label of a method, where its results are to be
    told from those of the others.  `automatic` engines are what `engine="auto"` chooses among; the one that is the
    `fallback` comes last.
    """

    name: ClassVar[str]
    title: ClassVar[str]
    label: ClassVar[str] = ""
    automatic: ClassVar[bool] = False
    fallback: ClassVar[bool] = False
    needs_specification: ClassVar[bool] = False
    """Whether the field must be a `Field`, a module that can be captured, or a flow of one, since another program
    rebuilds it."""
    own_process: ClassVar[bool] = False
    """Whether the work, and its memory, is in another process."""
    solvers: ClassVar[tuple[str, ...]] = ()
    """Names of adaptive solvers whose formula the engine keeps to itself."""
    defaults: ClassVar[Mapping[str, Any]] = {}
    """Options of methods that the command line gives this engine where the user gives none."""
    precisions: ClassVar[tuple[str, ...]] = (FULL,)
    """The precisions of matrix products that the engine follows; see `pynode.precision`."""
    remedy: ClassVar[str] = "use engine eager or auto"
    """What else a user may choose where this engine can't run a solve."""

    def unavailable(self) -> str | None:
        """Why the engine can't run anything on this machine, as a sentence; None where it can."""
        return None

    def check_available(self) -> None:
        """Raises `UsageError` with the reason where the engine can't run on this machine."""
        if reason := self.unavailable():
            raise EngineUnavailable(f"engine = {self.name}: {reason}, or {self.remedy}")

    def check(self, recipe: Recipe) -> None:  # noqa: ARG002 (for those that do not run everything)
        """Raises `InvalidArgument`, which names the options that clash, for a recipe that the engine never runs."""
        return

    def obstacle_on_ranks(self, recipe: Recipe) -> str | None:  # noqa: ARG002
        """Why the ranks of a run can't share a batch with this recipe, as a sentence; None where they can."""
        return None

    def check_solve(self, solve: Solve) -> None:  # noqa: ARG002 (for those that may be unavailable)
        """Raises a `UsageError` for arguments of `solve` that the engine takes on no machine.

        Called where the engine is not available: a mistake is to be told before what has to be installed.
        """
        return

    @abstractmethod
    def obstacle(self, solve: Solve) -> str | None:
        """Why the engine can't run `solve`, whose recipe has been checked, as a sentence; None where it can."""

    def pays(self, solve: Solve) -> bool:  # noqa: ARG002
        """Whether the engine is expected to be faster than torch operators, where it can run `solve` at all."""
        return True

    @abstractmethod
    def run(self, solve: Solve) -> Run:
        """Solves.  Counts its work into `solve.stats`, and raises `SolveError` for a solve that fails.

        States at `ts` `(time, ..., dim)`; not finite ones may be returned as they are.
        """
