"""The published records by the name of their folder, read once.

A folder of the study lies in experiments/published/study; older ones beside that.
"""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Any

from experiments.study.check import environments as environments_in
from pynode.errors import UsageError
from pynode.records.runs import RUNS, Run
from pynode.studies.results import Results, load_results

ROOT = Path(__file__).resolve().parents[3]
PUBLISHED = ROOT / "experiments" / "published"
STUDY = "study"

DISC, OPT = "disc-opt", "opt-disc"


def place_of(folder: str) -> Path | None:
    """Where the records called `folder` are: in the study, else beside it; None where there are none."""
    places = (PUBLISHED / STUDY / folder, PUBLISHED / folder)
    return next((place for place in places if place.is_dir() and folder not in ("", STUDY)), None)


def folders() -> list[str]:
    """The names of all folders of records, those of the study first; hidden ones hold what is being published."""
    inside = [p.name for p in sorted((PUBLISHED / STUDY).glob("[!.]*")) if p.is_dir()]
    beside = [p.name for p in sorted(PUBLISHED.glob("[!.]*")) if p.is_dir() and p.name not in (STUDY, *inside)]
    return [name for name in [*inside, *beside] if name != "figures"]


def linked(folder: str) -> str:
    """A link to a folder of records from experiments/README.md."""
    place = place_of(folder)
    return folder if place is None else f"[{folder}]({place.relative_to(PUBLISHED.parent).as_posix()})"


@cache
def runs_of(folder: str) -> Results | None:
    """A folder with runs; None where there is no such folder."""
    place = place_of(folder)
    return load_results(place) if place is not None and (place / RUNS).is_dir() else None


@cache
def checks_of(folder: str) -> Results | None:
    """A folder with runs or checks alone; None where there is no such folder."""
    place = place_of(folder)
    return None if place is None else load_results(place)


def seeds_of(folder: str, method: str) -> list[Run]:
    """The finished runs of one method, by seed; raises `UsageError` where there is none."""
    part = runs_of(folder)
    runs = [] if part is None else [r for r in part.runs if r.method == method and r.finished]
    if not runs:
        raise UsageError(f"there is no published run of {method} in {folder}; take its numbers out of the page")
    return sorted(runs, key=lambda run: run.seed)


def environments(folder: str) -> list[dict[str, Any]]:
    """All that is recorded on how a folder was made."""
    place = place_of(folder)
    return [] if place is None else environments_in(place)
