"""Invertibility in sentences: the coarsest training that leaves an inverse."""

from __future__ import annotations

from collections.abc import Callable

from experiments.study.page.published import runs_of
from pynode.errors import UnknownName, UsageError
from pynode.studies.invertibility.by_training import USES, Training, by_steps, fewest_steps, trainings
from pynode.studies.invertibility.record import RediscretisationRecord, Use
from pynode.studies.invertibility.study import Invertibility
from pynode.studies.results import Results


def coarsest_rows(part: Results) -> list[list[str]]:
    """The rows of the table of the coarsest discretisations that leave an inverse; none without a grid of them."""
    tables = [t for t in Invertibility().tables(part) if t.title.startswith("RQ4 Coarsest")]
    return [row for t in tables for row in t.rows]


def bound(folder: str) -> str:
    """The inverse error that counts as invertible."""
    return f"{_records(folder)[0].bound:.0e}".replace("e-0", "e-")


def coarsest_training(folder: str, use: str = "evaluation") -> str:
    """The fewest training steps from which on every seed's inverse error stays below the bound; "none" without any.

    `use` says how the flow is used: as in training ("training"), or by dopri5 ("evaluation").
    """
    fewest = fewest_steps(_family(folder), _use(use))
    return "none" if fewest is None else str(fewest)


def _records(folder: str) -> list[RediscretisationRecord]:
    part = runs_of(folder)
    if part is None or not part.rediscretised:
        raise UsageError(f"{folder} was not re-discretised; take its numbers out of the page")
    return part.rediscretised


def _family(folder: str) -> list[Training]:
    """The flows of a folder that were trained with fixed steps, fewest first."""
    families = by_steps(trainings(_records(folder)))
    if len(families) != 1:
        raise UsageError(f"{folder} has {len(families)} families of flows trained with steps, not one; use its table")
    return next(iter(families.values()))


def _use(name: str) -> Use:
    if name not in USES:
        raise UnknownName("use of a flow", name, tuple(USES))
    return name


VALUES: dict[str, Callable[..., str]] = {
    "bound": bound,
    "coarsest_training": coarsest_training,
}
"""Values of texts on invertibility."""
