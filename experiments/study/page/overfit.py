"""Training loss against validation loss, at the best validation and at the end: a table, and values of sentences."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from statistics import mean

from experiments.study.page import quantities as q
from experiments.study.page.markdown import table
from experiments.study.page.published import seeds_of
from experiments.study.page.sections import compared, runs_in
from pynode.errors import UnknownName
from pynode.records.runs import Run


@dataclass(frozen=True)
class Moment:
    """One validation: its iteration and loss, and the mean loss of the batches since the validation before."""

    iteration: int
    training: float | None
    validation: float

    @property
    def gap(self) -> float | None:
        """Validation loss less training loss; above zero where training has fitted its own rows."""
        return None if self.training is None else self.validation - self.training


def moments(run: Run) -> list[Moment]:
    """Every validation of a run, in order."""
    validations: list[Moment] = []
    losses: list[float] = []
    for record, validation in zip(run.records, run.quality(), strict=True):
        if record.loss is not None:
            losses.append(record.loss)
        if validation is not None:
            validations.append(Moment(record.iteration, mean(losses) if losses else None, validation))
            losses = []
    return validations


def best(run: Run) -> Moment | None:
    """The validation with the smallest loss."""
    return min(moments(run), key=lambda moment: moment.validation, default=None)


def end(run: Run) -> Moment | None:
    """The last validation."""
    validations = moments(run)
    return validations[-1] if validations else None


WHEN: dict[str, Callable[[Run], Moment | None]] = {"best": best, "end": end}


def picked(when: str, name: str) -> q.Pick:
    """The entry called `name` of a run's moment `when` ("best" or "end")."""
    if when not in WHEN:
        raise UnknownName("moment of a run", when, tuple(WHEN))

    def pick(run: Run) -> float | None:
        moment = WHEN[when](run)
        value: float | None = None if moment is None else getattr(moment, name)
        return value

    return pick


def overfit(problem: str) -> str:
    """A row for each comparison and method; medians over seeds with their range."""
    rows = []
    for c in compared(problem):
        for name, runs in zip(("Disc-Opt", "Opt-Disc"), runs_in(c), strict=True):
            done, digits = [run for run in runs if run.finished], q.digits_of(runs)
            cells = [
                q.over_seeds(done, picked(when, entry), digits)
                for when in WHEN
                for entry in ("training", "validation", "gap")
            ]
            rows.append([c.folder, c.engine, name, q.over_seeds(done, picked("best", "iteration")), *cells])
    columns = ["records", "engine", "method", "best at iteration"]
    columns += [f"{entry}, {when}" for when in WHEN for entry in ("training", "validation", "difference")]
    return table(columns, rows)


def _overfit(folder: str, method: str, when: str) -> str:
    runs = seeds_of(folder, method)
    return q.over_seeds(runs, picked(when, "gap"), q.digits_of(runs))


VALUES: dict[str, Callable[..., str]] = {"overfit": _overfit}
"""The value of texts: of a folder, a method, and "best" or "end"."""
