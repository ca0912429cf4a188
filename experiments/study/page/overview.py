"""The seven problems of the study in one table."""

from __future__ import annotations

from experiments.study.page import quantities as q
from experiments.study.page.markdown import table
from experiments.study.page.net import rows_of, weights_of
from experiments.study.page.published import linked
from experiments.study.page.sections import SECTIONS, SEVEN, runs_in, without_repeats
from pynode.records.runs import Run
from pynode.studies.load import load_text
from pynode.studies.reduction.spread import percent_with_range
from pynode.studies.suite.study import Comparison

COLUMNS = ["problem", "records", "engine", "rows", "weights", "seeds", "iterations", "last validation loss"]
COLUMNS += ["test NLL, best weights", "less time", "less NFE", "fewer evaluations", "load"]


def overview() -> str:
    """A row for each problem and engine, without repeats; a row that says so for a problem without records."""
    rows = []
    for problem in SEVEN:
        title = SECTIONS[problem].title
        rows += [_row(title, c) for c in without_repeats(problem)] or [[title, "no record", *[""] * (len(COLUMNS) - 2)]]
    return table(COLUMNS, rows)


def _row(title: str, c: Comparison) -> list[str]:
    pair = runs_in(c)
    digits = q.digits_of([*pair[0], *pair[1]])
    r = c.reduction
    return [
        title,
        linked(c.folder),
        c.engine,
        rows_of([c.method, *pair[0], *pair[1]]),
        weights_of(c.method),
        str(c.seeds),
        f"{c.method.config['iterations']:,}",
        _both(pair, q.last, digits),
        _both(pair, q.summary("test_nll"), digits),
        *(percent_with_range(r, f"{kind}_reduction") for kind in ("time", "nfe", "evaluation")),
        load_text(r["load_average"], r["threads"]),
    ]


def _both(pair: tuple[list[Run], list[Run]], pick: q.Pick, digits: int) -> str:
    """Disc-Opt's and Opt-Disc's median over seeds with its range."""
    cells = [q.over_seeds([run for run in runs if run.finished], pick, digits) for runs in pair]
    return " / ".join(cells) if set(cells) != {"–"} else "–"
