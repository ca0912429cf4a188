"""The data and the net of a run: rows, layers and weights, from its configuration and its evaluation."""

from __future__ import annotations

import json
from collections.abc import Sequence
from functools import cache
from typing import Any

from experiments.study.page.quantities import metric
from pynode.problems import PROBLEMS
from pynode.problems.base import Problem, options_from_json
from pynode.problems.density.base import Density
from pynode.problems.density.toys import Toy
from pynode.records.runs import Run
from pynode.records.table_data import MIXED, are_mixed, data_mark


def rows_of(runs: Sequence[Run]) -> str:
    """The rows of runs that belong together: of the first, or of each where they are not on the same rows."""
    if are_mixed(run.config for run in runs):
        return f"{MIXED}, so that medians are over runs on {' and '.join(dict.fromkeys(map(_rows_of_run, runs)))}"
    return _rows_of_run(runs[0])


def _rows_of_run(run: Run) -> str:
    """Training, validation and test rows where they are recorded, else training rows; what takes their place else.

    Rows of a set that stands in for the study's are named.
    """
    recorded = (run.config.get("data") or {}).get("rows")
    if recorded:
        mark = data_mark(run.config) or _stand_in(run)
        counts = " / ".join(f"{recorded[part]:,}" for part in ("train", "validation", "test"))
        return f"{counts} ({mark})" if mark else counts
    rows = metric(run, "rows")
    if rows is not None:
        return f"{rows:,.0f} in training"
    kind = _kind(run.config["problem"])
    if issubclass(kind, Toy):
        return f"{_options(run).get('batch') or kind.batch_size} fresh samples an iteration"
    return "one trajectory"


def _stand_in(run: Run) -> str:
    """The name of a problem from outside of pynode, such as "higgs rows"; else ""."""
    origin = (run.config.get("outside") or {}).get("problem")
    return f"{origin['name']} rows" if origin else ""


def net_of(run: Run, problem: str) -> str:
    """Widths of the hidden layers and number of blocks; those of `problem` where the run's options name none."""
    name, options = run.config["problem"], _options(run)
    kind = _kind(name if name in PROBLEMS.names() else problem)
    if issubclass(kind, Density):
        hidden = options.get("hidden") or kind.hidden
        blocks = options.get("blocks") or kind.blocks
        return f"{'-'.join(map(str, hidden))}, {blocks} block{'s' * (blocks > 1)}"
    widths = _posed(name, json.dumps(options)).field_spec.widths
    return "-".join(map(str, widths[1:-1]))


def weights_of(run: Run) -> str:
    """The number of weights: recorded, or that of the problem's model, where it needs no rows."""
    recorded = metric(run, "parameters")
    if recorded is not None:
        return f"{recorded:,.0f}"
    model = _posed(run.config["problem"], json.dumps(_options(run))).model()
    return f"{sum(p.numel() for p in model.parameters()):,}"


def _kind(name: str) -> type[Problem]:
    return PROBLEMS.load(name)


def _options(run: Run) -> dict[str, Any]:
    """The options of the run's problem; the oldest configurations have none."""
    return dict(run.config.get("options") or {})


@cache
def _posed(name: str, options: str) -> Any:
    """The problem with options in JSON."""
    kind = _kind(name)
    return kind(options=options_from_json(kind, json.loads(options)))
