"""Tables of the questions on gradients, invertibility and the map of who wins."""

from __future__ import annotations

from statistics import median

from experiments.study.page import quantities as q
from experiments.study.page.differences import differences
from experiments.study.page.invertible import coarsest_rows
from experiments.study.page.markdown import table
from experiments.study.page.published import DISC, checks_of, folders, place_of, runs_of
from experiments.study.spiral_differences.report import order
from pynode.studies.base import number
from pynode.studies.gradients.record import GradientErrorRecord
from pynode.studies.invertibility.by_training import training_tables
from pynode.studies.reduction.spread import percent_with_range
from pynode.studies.reduction.study import reductions
from pynode.studies.winners.record import TARGETS, cells
from pynode.studies.winners.study import Winners

SHOWN_OF_THE_SPIRAL = (
    "disc-opt-euler-x1",
    "disc-opt-rk4-x1",
    "disc-opt-rk4-x4",
    "opt-disc-fixed-euler-explicit-x1",
    "opt-disc-dopri5-rtol1e-01",
    "opt-disc-dopri5-rtol1e-03",
    "opt-disc-dopri5-rtol1e-05",
    "opt-disc-dopri5-rtol1e-07",
    "opt-disc-dopri5-rtol1e-09",
    "ad-adaptive-dopri5-rtol1e-05",
)
"""Rows of the spiral's gradient errors that the page shows, where they are recorded."""

SHOWN_OF_FLOWS = (
    "disc-opt-rk4-x1",
    "disc-opt-rk4-x2",
    "disc-opt-rk4-x4",
    "disc-opt-rk4-x8",
    "opt-disc-fixed-euler-explicit-x8",
    *(f"opt-disc-dopri5-rtol1e-0{k}" for k in range(1, 7)),
    "ad-adaptive-dopri5-rtol1e-05",
)
"""Rows of the flows' gradient errors that the page shows, where they are recorded."""

HORIZONS = ("5", "10", "40")
"""Horizons of the backward solve that the page shows."""


def first_with_errors(*names: str) -> tuple[str, list[GradientErrorRecord]]:
    """The first of these folders that has gradient errors, and these."""
    for name in names:
        checks = checks_of(name)
        if checks is not None and checks.errors:
            return name, checks.errors
    return "", []


def gradients_spiral() -> str:
    """Gradient errors on the untrained spiral, some rows of the record."""
    errors = {r.label: r for r in first_with_errors("spiral-tolerances", "spiral")[1]}
    return _errors([errors[label] for label in SHOWN_OF_THE_SPIRAL if label in errors])


def gradients_flows() -> str:
    """Gradient errors of flows, some rows of every folder of a density that has them."""
    rows = []
    for name in folders():
        checks = checks_of(name) if not name.startswith(("bench", "scale", "spiral")) else None
        if checks is not None and checks.errors:
            shown = [r for r in checks.errors if r.label in SHOWN_OF_FLOWS]
            rows += [(f"{name}, {'untrained' if r.weights == 'untrained' else 'trained'}: ", r) for r in shown]
    return _errors([r for _, r in rows], [prefix for prefix, _ in rows]) if rows else ""


def _errors(records: list[GradientErrorRecord], prefixes: list[str] | None = None) -> str:
    rows = [
        [
            f"{prefix}`{r.label}`",
            number(r.error, 2),
            "–" if r.error_discrete is None else number(r.error_discrete, 1),
            f"{r.nfe_forward} / {r.nfe_backward} / {r.n_vjp}",
            number(None if r.seconds is None else 1e3 * r.seconds),
        ]
        for prefix, r in zip(prefixes or [""] * len(records), records, strict=True)
    ]
    columns = ["method", "error against the continuous gradient", "against its own loss"]
    return table([*columns, "NFE-F / NFE-B / products", "ms"], rows)


def own_loss() -> float | None:
    """The largest error of Disc-Opt's gradient against finite differences of its own loss, on the spiral."""
    checks = checks_of("spiral")
    errors = [r.error_discrete for r in (checks.errors if checks else []) if r.method == DISC]
    return max((e for e in errors if e is not None), default=None)


def accuracies() -> str:
    """Training of the spiral at many accuracies, cheapest first."""
    part = runs_of("spiral-tolerances")
    runs = [] if part is None else [run for run in part.runs if run.finished]
    runs.sort(key=lambda run: (run.summary or {})["training_seconds"])
    rows = [
        [
            run.setting,
            number(q.best(run)),
            number(q.last(run)),
            number((run.summary or {})["training_seconds"]),
            number(sum(record.evaluations for record in run.records)),
        ]
        for run in runs
    ]
    return table(["setting", "best validation loss", "last validation loss", "training s", "evaluations"], rows)


def invertibility() -> str:
    """The coarsest discretisations that leave an inverse, in every folder whose flows were used with a grid of them."""
    rows = []
    for name in folders():
        part = runs_of(name)
        rows += [[name, *row] for row in coarsest_rows(part)] if part is not None else []
    columns = ["records", "trained by", "used with", "coarsest", "largest step", "inverse error", "NLL", "NFE"]
    return table(columns, rows)


def training_steps() -> str:
    """What the number of steps in training does to likelihood and inverse, in every folder that was measured so."""
    rows, columns = [], ["trained by"]
    for name in folders():
        part = runs_of(name)
        for made in training_tables(part.rediscretised, name)[:1] if part is not None else []:
            columns = made.columns
            rows += [[name, *row] for row in made.rows]
    return table(["records", *columns], rows)


def spiral_differences() -> str:
    """The spiral with one thing changed at a time, beside the authors' pictures."""
    if place_of("spiral-differences") is None:
        return ""
    made = order(differences())
    return table(made.columns, made.rows)


def ratios_of_map(target: str, quantity: str) -> list[float]:
    """Opt-Disc over Disc-Opt in a quantity, for the cells of the map that both methods reach."""
    checks = checks_of("map")
    all_cells = cells(checks.winners) if checks else []
    return [r for c in all_cells if (r := c.ratio(float(target), quantity)) is not None]


def winners() -> str:
    """In how many cells of the map Disc-Opt is cheaper, by evaluations and by time."""
    rows = []
    for target in (f"{t:.0e}" for t in TARGETS):
        evaluations, seconds = (ratios_of_map(target, what) for what in ("evaluations", "seconds"))
        reached = len(evaluations)
        rows.append(
            [
                target,
                str(reached),
                _won(evaluations, reached),
                _middle_and_range(evaluations),
                _won(seconds, reached),
                _middle_and_range(seconds),
            ]
        )
    columns = ["gradient error", "cells", "Disc-Opt needs fewer evaluations", "ratio of evaluations"]
    return table([*columns, "Disc-Opt is faster", "ratio of times"], rows if checks_of("map") else [])


def _won(ratios: list[float], reached: int) -> str:
    """In how many cells Disc-Opt is cheaper; of how many, where some of those `reached` have no ratio."""
    count = sum(r > 1 for r in ratios)
    return str(count) if len(ratios) == reached else f"{count} of {len(ratios)}"


def _middle_and_range(ratios: list[float]) -> str:
    if not ratios:
        return "–"
    return f"{number(median(ratios), 2)} ({number(min(ratios), 2)} to {number(max(ratios), 2)})"


def stability() -> str:
    """The backward solve over growing horizons."""
    checks = checks_of("map")
    tables = [t for t in Winners().tables(checks) if "backward solve" in t.title] if checks else []
    rows = [row[:5] for t in tables for row in t.rows if row[1] in HORIZONS]
    return table(["field", "T", "gradient error", "error of y0, solved back", "NFE-B / NFE-F"], rows)


def multilevel() -> str:
    """Coarse steps first against the finest throughout, both by Disc-Opt, at the last two losses of the record."""
    part = runs_of("8gaussians-multilevel")
    levels = f"{DISC}-multilevel"
    reduction = reductions(part, DISC, levels) if part else {}
    rows = [
        [
            number(entry["loss"], 4),
            number(entry["seconds"][DISC]),
            number(entry["seconds"][levels]),
            percent_with_range(entry, "time_reduction"),
            percent_with_range(entry, "nfe_reduction"),
        ]
        for entry in (reduction["targets"][-2:] if reduction else [])
    ]
    return table(["NLL", "finest steps throughout: s", "levels: s", "less time", "less NFE"], rows)
