"""What `study publish` may replace: folders that hold nothing but files as it writes them."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from experiments.study.progress import DONE
from experiments.study.spiral_differences.records import RUNS as DIFFERENCES
from pynode.cli.map import SETTINGS
from pynode.records.events import EVENTS
from pynode.records.run_files import CONFIG, ENVIRONMENT, EVALUATION, SUMMARY
from pynode.records.runs import RECORDS, RUNS
from pynode.studies.results import LINES
from pynode.sweeps.layout import FILE as SWEEP

OF_RUN = (CONFIG, ENVIRONMENT, SUMMARY, EVALUATION, EVENTS)
"""Files of a run that are published as they are."""

PACKED = f"{RECORDS}.gz"
"""The records of a run, as they are published."""

TABLES, FIGURES = "tables.md", "figures"

OF_PART = {
    *(DONE, CONFIG, ENVIRONMENT, SUMMARY, SETTINGS, SWEEP, TABLES, DIFFERENCES),
    *(file for file, _ in LINES.values()),
}
"""Files that the commands of the study leave in a part, beside runs and figures."""

DRAWN = {
    *("loss", "cost", "extrapolation", "density", "trajectories", "marginals", "reduction"),
    *("taylor", "gradient_error", "gradient_accuracy", "sweep", "crosscheck", "training_steps", "rediscretisation"),
    *("winners", "stability", "suite", "spiral-differences", "spiral-differences-order", "advice"),
    *("forecast", "residuals"),
}
"""Names of the figures of the studies; `show` draws them in a published part as well, and each as PDF besides."""


def foreign_file(folder: Path, written: Iterable[Path] = ()) -> Path | None:
    """The first file in `folder`, as a path in it, that publishing a part does not write; None where there is none.

    `written` are the files, as paths in the part, that publishing would write there now, whatever their names.  A link
    is never one that it writes.
    """
    wanted = set(written)
    drawn = DRAWN | {path.stem for path in wanted if path.parts[0] == FIGURES}
    for path in sorted(folder.rglob("*")):
        inside = path.relative_to(folder)
        if path.is_symlink() or not (path.is_dir() or inside in wanted or _is_known(inside, drawn)):
            return inside
    return None


def _is_known(path: Path, drawn: set[str]) -> bool:
    match path.parts:
        case (name,):
            return name in OF_PART
        case (folder, _) if folder == FIGURES:
            return path.suffix in {".png", ".pdf"} and path.stem in drawn
        case (folder, _, name) if folder == RUNS:
            return name in {*OF_RUN, PACKED}
    return False
