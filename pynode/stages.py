"""What follows Adam in the training of a problem: stages of L-BFGS, each on one loss that stays the same."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, NamedTuple

from pynode.methods.base import GradientMethod
from pynode.types import Theta

if TYPE_CHECKING:
    from pynode.objective import Objective


class Taken(NamedTuple):
    """Whether the weights at the end of a stage are taken, and a sentence about it, empty where all is as usual."""

    taken: bool
    said: str = ""


class Stage(ABC):
    """A stage of L-BFGS on a loss without batches.

    The trainer runs it an iteration at a time, keeps the best of all weights that were tried, and goes back to them
    where a step was too long for a solve.
    """

    name: str
    """What records call it."""
    judged: bool = True
    """Whether an evaluation judges its weights.  Stages on rows that are held out come last, and are not judged."""

    @property
    @abstractmethod
    def gradients(self) -> int:
        """Losses with gradients after which no further iteration begins; 0 where there is nothing to train on."""

    def begin(self, model: Any) -> None:  # noqa: B027 (most stages go on from the weights as they are)
        """Changes the weights of `model` before the first iteration."""

    @abstractmethod
    def parts(self, method: GradientMethod, model: Any) -> Iterator[Objective]:
        """Parts of the loss, whose sum it is; the gradient of each is taken before the next one is made."""

    def takes(self, model: Any, before: Theta, after: Theta) -> Taken:  # noqa: ARG002
        """Whether the weights `after` are taken at the end instead of those `before` the first iteration.

        `model` is there to try either; its own weights are set afterwards.
        """
        return Taken(True)
