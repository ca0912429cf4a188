"""Records of the differences: a line for each run, and reading them back."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypedDict

from pynode.errors import UsageError
from pynode.records.content import is_there
from pynode.records.files import lines_if_any, read_object
from pynode.records.schema import Count, NonNegative, Positive, Seconds

CONFIG, RUNS, ENVIRONMENT = "config.json", "runs.jsonl", "environment.json"


class NoDifferences(UsageError):
    """A directory holds no records of spiral-differences."""


@dataclass(frozen=True)
class DifferenceRecord:
    """One training run.

    `iterations` are the ones that are recorded, with an entry in each list: the `loss` after so many updates, as
    training sees it, its running minimum `best_loss`, and the same of `accurate_loss`: an accurate solve against exact
    data at their own times.  None from where the run failed.  `drift` is the largest of Opt-Disc's backward solves.
    """

    variant: str
    method: str
    seed: Count
    iterations: list[Count]
    loss: list[NonNegative | None]
    best_loss: list[NonNegative | None]
    accurate_loss: list[NonNegative | None]
    best_accurate_loss: list[NonNegative | None]
    seconds: Seconds
    engine: str
    drift: NonNegative | None = None
    load_average: NonNegative | None = None
    failure: str | None = None

    def at(self, iteration: int, quantity: str = "best_loss") -> float | None:
        """The `quantity` after `iteration` updates; None where it is not recorded."""
        values: list[float | None] = getattr(self, quantity)
        return values[self.iterations.index(iteration)] if iteration in self.iterations else None


class ConfigKeys(TypedDict):
    """What config.json holds."""

    variants: list[str]
    seeds: list[Count]
    iterations: Positive


@dataclass(frozen=True)
class Differences:
    """A directory read back."""

    config: dict[str, Any]
    records: list[DifferenceRecord]

    def of(self, variant: str, method: str) -> list[DifferenceRecord]:
        """The runs of a variant by a method, by seed."""
        mine = [r for r in self.records if (r.variant, r.method) == (variant, method)]
        return sorted(mine, key=lambda record: record.seed)

    @property
    def variants(self) -> list[str]:
        """The variants that have records, in the order of the configuration."""
        there = {record.variant for record in self.records}
        return [name for name in self.config["variants"] if name in there]


def read(directory: Path) -> Differences:
    """Reads a directory; raises `NoDifferences` where there are no records."""
    if not is_there(directory / CONFIG) or not is_there(directory / RUNS):
        raise NoDifferences(
            f"{directory} holds no records of spiral-differences; pass the --out directory of an earlier one"
        )
    config = read_object(directory / CONFIG, ConfigKeys)
    return Differences(config, lines_if_any(directory / RUNS, DifferenceRecord))
