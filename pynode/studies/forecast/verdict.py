"""The verdict on a user's own series, no stronger than its records: which method forecasts better, which is cheaper."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from statistics import median
from typing import Any

from pynode.records.runs import Run
from pynode.settings.known import rivals
from pynode.studies.base import number, over_seeds, percent
from pynode.studies.forecast.recorded import BASELINES, HELD_OUT, record_of
from pynode.studies.load import is_idle
from pynode.studies.losses import OVER_WINDOWS, still_falling
from pynode.studies.reduction.study import reductions
from pynode.studies.results import Results
from pynode.trajectories.judgement import MODEL, TRAINING, mean_relative
from pynode.wording import counted

ALIKE = 0.1
"""Errors whose ratio is within this of 1 are called alike."""

SAME_COST = 0.05
"""Share of the time within which costs are called about the same."""

FEW = 10
"""Held-out values below which errors of forecasts say little."""

SEEDS = 3
"""Seeds from which on a difference is not called chance."""


def saved_by(results: Results) -> dict[str, Any]:
    """What Disc-Opt saves against Opt-Disc until the matched loss; empty where either was not trained."""
    return next((saved for pair in rivals() if (saved := reductions(results, *pair))), {})


def whole_seconds(run: Run) -> float | None:
    """Seconds of Adam and of the L-BFGS that ends the training, without that on all rows for `predict`."""
    summary = run.summary or {}
    seconds = summary.get("training_seconds")
    return None if seconds is None else seconds + (summary.get("finishing_seconds") or 0.0)


def accuracy(groups: Mapping[str, Sequence[Run]]) -> str:
    """How far forecasts are off on held-out rows, beside the best forecast without a model; of fits where nothing is
    held out.  `groups` are finished runs by method."""
    record = record_of(next(iter(groups.values()))[0])
    ahead = any(row["part"] == HELD_OUT for row in record["errors"])
    part = HELD_OUT if ahead else TRAINING
    errors = {name: _mean_errors(own, part) for name, own in groups.items()}
    known = {name: error for name, error in errors.items() if error is not None}
    if not known:
        return "No error could be measured: the columns do not change in the training rows."
    count = sum(row["rows"] for row in record["errors"] if (row["forecaster"], row["part"]) == (MODEL, part))
    few = " only, too few to tell," if count < FEW else ""
    what = f"On {counted(count, 'held-out value')}{few} the forecast" if ahead else "Nothing was held out; the fit"
    what = f"{what} is off by"
    every = [f"{_times(error)} with {name}" for name, error in known.items()]
    several = "s, on average over columns" if len(record["columns"]) > 1 else "s"
    said = f"{what} {_listed(every)} (RMSE over standard deviation{several})."
    if not ahead:
        return said
    apart = _without_field(groups)
    if apart:
        return f"{said} {apart}"
    rivals_ = {BASELINES[b]: e for b in BASELINES if (e := mean_relative(record["errors"], b, HELD_OUT)) is not None}
    if not rivals_:
        return said
    name, least = min(rivals_.items(), key=lambda item: item[1])
    better = [method for method, error in known.items() if error < least]
    if len(better) == len(known):
        verdict = (
            "which is better than" if len(known) == 1 else "both better than" if len(known) == 2 else "all better than"
        )
        return f"{said[:-1]}, {verdict} the best forecast without a model ({name}: {_times(least)})."
    if not better:
        return f"{said} A forecast without a model is better here ({name}: {_times(least)})."
    return f"{said} Only {_listed(better)} is better than the best forecast without a model ({name}: {_times(least)})."


def _without_field(groups: Mapping[str, Sequence[Run]]) -> str:
    """How many runs of each method made their forecasts without the field, from curves of trained trajectories."""
    counts = {name: sum(bool(record_of(run).get("without_field")) for run in own) for name, own in groups.items()}
    if not any(counts.values()):
        return ""
    told = [f"{counts[name]} of {counted(len(own), 'run')} with {name}" for name, own in groups.items() if counts[name]]
    return (
        f"In {_listed(told)} the forecast is that of curves through trained trajectories, which was far better than "
        "that of the field: such errors say nothing about the field or its gradient."
    )


def _mean_errors(runs: Sequence[Run], part: str) -> float | None:
    values = [mean_relative(record_of(run)["errors"], MODEL, part) for run in runs]
    known = [value for value in values if value is not None]
    return median(known) if known else None


def cost(results: Results, groups: Mapping[str, Sequence[Run]]) -> str:
    """Which method is cheaper and which is better here, no stronger than the records."""
    saved = saved_by(results)
    if not saved:
        return ""
    base, method = saved["baseline"], saved["method"]
    time, work = saved["time_reduction"], saved["evaluation_reduction"]
    if time is None or work is None:
        return "The costs of the two methods do not compare: one of them never reached the other's loss."
    cheaper, dearer = (method, base) if time >= 0 else (base, method)
    seconds = f"{number(saved['seconds'][cheaper])} s against {number(saved['seconds'][dearer])} s"
    busy = "" if is_idle(saved["load_average"], saved["threads"]) else ", on a machine that did other work as well"
    work_done = _evaluations(saved, cheaper, dearer)
    to = f"to the {OVER_WINDOWS} that both reach by Adam"
    less = _less(saved["seconds"], cheaper, dearer)
    if less is None or abs(less) < SAME_COST:
        said = f"Both took about as long {to} ({seconds}{busy}), {cheaper} {work_done}."
    elif busy and time * work < 0:
        said = (
            f"Which method is cheaper can't be told here: {to}, {cheaper} took {percent(less)} less time "
            f"({seconds}{busy}), but {work_done}."
        )
    else:
        said = f"Cheaper here is {cheaper}: {to}, it took {percent(less)} less time ({seconds}{busy}), {work_done}."
    every = (said, _whole(groups, cheaper, dearer), _better(groups, base, method), _unfinished(groups))
    return " ".join(part for part in every if part)


def _whole(groups: Mapping[str, Sequence[Run]], cheaper: str, dearer: str) -> str:
    """The whole trainings, where they went on after the matched loss."""
    runs = [(groups.get(name) or (), name) for name in (cheaper, dearer)]
    if not all((run.summary or {}).get("finishing_seconds") is not None for own, _ in runs for run in own):
        return ""
    seconds = [over_seeds(list(own), whole_seconds) for own, _ in runs]
    if None in seconds:
        return ""
    each = " and ".join(f"{number(s)} s with {name}" for s, (_, name) in zip(seconds, runs, strict=True))
    return f"The whole trainings, which L-BFGS finishes after that, took {each}."


def _less(costs: Mapping[str, float], cheaper: str, dearer: str) -> float | None:
    return 1 - costs[cheaper] / costs[dearer] if costs[dearer] else None


def _evaluations(saved: Mapping[str, Any], cheaper: str, dearer: str) -> str:
    less = _less(saved["evaluations"], cheaper, dearer)
    if less is None:
        return "with an unknown number of evaluations"
    return f"with {percent(abs(less))} {'fewer' if less >= 0 else 'more'} evaluations"


def _better(groups: Mapping[str, Sequence[Run]], base: str, method: str) -> str:
    if not {base, method} <= set(groups):
        return ""
    part = HELD_OUT if _mean_errors(groups[base], HELD_OUT) is not None else TRAINING
    one, other = (_mean_errors(groups[name], part) for name in (method, base))
    what = "forecasts" if part == HELD_OUT else "fits"
    seeds = len({run.seed for name in (base, method) for run in groups[name]})
    if one is None or other is None or (part == HELD_OUT and _without_field(groups)):
        return ""
    low, high = min(one, other), max(one, other)
    how_sure = f"from {counted(seeds, 'seed')}"
    if high <= (1 + ALIKE) * low or high == 0:
        return f"Their {what} are alike (within {percent(ALIKE)}, {how_sure})."
    better = method if one < other else base
    chance = ", so this may be chance" if seeds < SEEDS else ""
    return f"The {what} of {better} are better ({how_sure}{chance})."


def _unfinished(groups: Mapping[str, Sequence[Run]]) -> str:
    """Says which trainings ended while their losses were still falling."""
    falling = still_falling(groups)
    return f"The loss of {_listed(falling)} was still falling when the training ended." if falling else ""


def _times(error: float) -> str:
    return number(error) if error < float("inf") else "more than can be told (not finite)"


def _listed(words: Sequence[str]) -> str:
    return " and ".join([", ".join(words[:-1]), words[-1]] if len(words) > 1 else words)
