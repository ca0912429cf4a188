"""A training from where it stands to its end: Adam's iterations, then the stages after them; and how it stops."""

from __future__ import annotations

import contextlib
import signal
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pynode.errors import Interrupted, NonFiniteLoss, PynodeError, RankLost, SolveError, StorageError
from pynode.julia.errors import JuliaError, WorkerError
from pynode.precision import FULL, products_in
from pynode.records.iteration import IterationRecord
from pynode.training import checkpoint
from pynode.training.finishing import Finishing
from pynode.training.keeping import Keeper
from pynode.training.loop import Loop
from pynode.training.progress import FinishingProgress, summarise, summarise_stages
from pynode.training.weights import FINISHING
from pynode.types import Theta

Listener = Callable[[IterationRecord], None]

SAVED, LAST_STANDS = "saved", "the last checkpoint stands"


@dataclass
class Session:
    """One training: `loop` has Adam's iterations, `finishing` those of the stages, once Adam's are done.

    `directory` is that of the run, None in memory.
    """

    loop: Loop
    keeper: Keeper
    listener: Listener | None = None
    directory: Path | None = None
    finishing: Finishing | None = None
    warmup: float = 0.0

    @property
    def best(self) -> Theta:
        """The weights to judge, as far as the training has come."""
        return self.loop.best if self.finishing is None else self.finishing.best_so_far

    @property
    def last(self) -> Theta:
        """The weights to use in the end, as far as the training has come."""
        return self.loop.best if self.finishing is None else self.finishing.last_so_far

    def run(self) -> None:
        """All iterations that are left.

        Raises what `pynode.training.trainer.train` does.
        """
        with products_in(self.loop.config.precision):
            self._train(self.loop)
        loop, problem = self.loop, self.loop.problem
        stages = problem.stages()
        if not stages:
            return
        loop.model.set_theta(loop.best)
        with products_in(FULL), self._told(loop):
            self.finishing = Finishing(
                stages,
                loop.model,
                loop.method,
                self.keeper.stages,
                loop.stop,
                problem.device,
                FinishingProgress(start=Finishing.digest(loop.best)),
                loop.config.to_json,
                problem.validation_loss,
                loop.config.validate_every,
            )
            point = self.keeper.point_of_stages(self.finishing.check, loop.config.checkpoint_every)
            if point is None:
                self.finishing.save()
            else:
                self.finishing.load(point)
        with products_in(FULL):
            self._train(self.finishing)

    def summarise(self, **more: Any) -> dict[str, Any]:
        """Keeps the summary of the training as it stands, and returns it."""
        loop = self.loop
        if not loop.world.is_writer:
            return {"iterations": loop.progress.iteration, **more}
        of_adam, of_stages = self.keeper.records()
        if self.finishing is not None:
            more = {**summarise_stages(of_stages, self.finishing.progress, self.finishing.judged), **more}
        summary = summarise(loop.config, of_adam, loop.progress, **more)
        self.keeper.keep_summary(summary)
        return summary

    def _train(self, part: Loop | Finishing) -> None:
        """The iterations that are left of one part."""
        loop, goes_on = self.loop, False
        every, writes = loop.config.checkpoint_every, loop.world.is_writer
        with self._told(part):
            if isinstance(part, Loop):
                part.set_rate()
                if not part.ended:
                    with part.stop.interruptible():
                        self.warmup = part.warm_up()
            while not part.ended:
                part.stop.check()
                record = part.iterate()
                if writes:
                    if not goes_on:
                        self.keeper.begins_again(stages_too=part is loop)
                        goes_on = True
                    part.storage.append(record)
                if part.ended or part.progress.iteration % every == 0:
                    part.save()
                if self.listener:
                    self.listener(record)

    @contextlib.contextmanager
    def _told(self, part: Loop | Finishing) -> Iterator[None]:
        """Saves what there is where `part` is stopped or fails, and says so in the error."""
        try:
            yield
        except KeyboardInterrupt as error:
            saved = isinstance(error, Interrupted) and self._save(part, "interrupted", str(error)) == SAVED
            raise self.stopped(part, error, saved=saved) from None
        except (NonFiniteLoss, SolveError, WorkerError, JuliaError, RankLost) as error:
            state = self._save(part, "failed", str(error))
            with contextlib.suppress(PynodeError):  # it must not hide what happened
                self.summarise(status="failed", error=str(error))
            kept = "" if self.directory is None else f" ({state}; see {self.directory})"
            error.args = (f"{self._where(part)}: {error}{kept}",)
            raise
        except StorageError as error:
            # what is in memory may be ahead of the records, so it is not saved: the last checkpoint stands
            error.args = (f"{self._where(part)}: {self._can_go_on(error)}",)
            raise

    def stopped(self, part: Loop | Finishing, error: KeyboardInterrupt, *, saved: bool) -> Interrupted:
        """The error that says where the training was stopped, and how it goes on."""
        number = error.signal_number if isinstance(error, Interrupted) else int(signal.SIGINT)
        rest = "saved: --resume continues there" if saved else "--resume continues from the last checkpoint"
        if self.directory is None:
            rest = "the weights so far are kept"
        before = f"{'' if isinstance(part, Loop) else f'{FINISHING} '}iteration {part.progress.iteration}"
        return Interrupted(number, f"interrupted in {self.loop.config.label} before {before}; {rest}")

    def _where(self, part: Loop | Finishing) -> str:
        kind = "" if isinstance(part, Loop) else f"{FINISHING} "
        return f"{self.loop.config.label}, {kind}iteration {part.progress.iteration}"

    def _can_go_on(self, error: StorageError) -> str:
        """What can't be written and why, and whether what was written before is there to go on from."""
        if self.directory is None or not self.directory.is_dir():
            return f"can't write {error.path}: {error.reason}; the directory of the run is gone"
        return (
            f"can't write {error.path}: {error.reason}; what was written before is intact: {error.remedy}, then run "
            "again with --resume"
        )

    def _save(self, part: Loop | Finishing, event: str, detail: str) -> str:
        """Saves the present state, whatever else has failed, and says what there is now."""
        if not self.loop.world.is_writer:
            return "what the first rank has saved stands"
        try:
            part.save()
            part.storage.note(event, part.progress.iteration, detail)
        except PynodeError:
            there = self.directory is not None and (self.directory / checkpoint.NAME).exists()
            return LAST_STANDS if there else "nothing could be saved"
        return SAVED
