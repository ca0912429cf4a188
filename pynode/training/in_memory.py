"""A training without a directory: the same iterations, stages and policy after failures, kept in memory."""

from __future__ import annotations

from typing import Any

import torch

from pynode.problems.base import Problem
from pynode.records.iteration import IterationRecord
from pynode.training.config import RunConfig, check_device
from pynode.training.engine import decided
from pynode.training.keeping import InMemory
from pynode.training.session import Listener, Session
from pynode.training.signals import Stop
from pynode.training.trainer import start_of
from pynode.types import Theta


class TrainingInMemory:
    """A training of `config`; `train` runs it, and where that is stopped what it has come to is here."""

    def __init__(self, config: RunConfig, listener: Listener | None = None) -> None:
        check_device(config.device)
        self.problem: Problem = config.make_problem()
        self.problem.check()
        self._stop = Stop()
        self._keeper = InMemory(config.label)
        config = decided(config, self.problem)
        self.config = config
        self._session = Session(start_of(config, self.problem, self._keeper.adam, self._stop), self._keeper, listener)

    def train(self) -> dict[str, Any]:
        """Trains to the end and returns the summary, without an evaluation.

        Raises `NonFiniteLoss` and `SolveError` as the policy says, and `Interrupted` for SIGINT and SIGTERM.
        """
        with self._stop:
            self._session.run()
        return self._session.summarise(status="finished", warmup_seconds=self._session.warmup)

    @property
    def model(self) -> Any:
        """The model; its weights are those of the training's last step unless somebody sets others."""
        return self._session.loop.model

    @property
    def best(self) -> Theta:
        """The weights to judge, as far as the training has come.

        Of an interrupted training by Adam those of its last step, where they are better than what was validated.
        """
        session, loop = self._session, self._session.loop
        stopped = session.finishing is None and not loop.ended
        if stopped and self.problem.validation_loss(loop.model) < loop.progress.best_validation:
            return torch.as_tensor(loop.model.theta())
        return session.best

    @property
    def last(self) -> Theta:
        """The weights to use in the end, as far as the training has come."""
        return self.best if self._session.finishing is None else self._session.last

    @property
    def records(self) -> tuple[list[IterationRecord], list[IterationRecord]]:
        """Those of Adam's iterations, and of the stages after them."""
        return self._keeper.records()

    @property
    def events(self) -> list[str]:
        """What happened, in sentences: failures, and stages that ended early."""
        return [f"{event.event} {event.iteration}: {event.detail}" for event in self._keeper.events]
