"""Tables of experiments/README.md on gradients, invertibility, the map of who wins, the records and the cost model."""

from __future__ import annotations

from statistics import median
from typing import Any

from pynode.studies.base import number
from pynode.studies.invertibility.study import Invertibility
from pynode.studies.reduction.study import engine_of
from pynode.studies.winners.record import TARGETS, cells
from pynode.studies.winners.study import Winners
from tests.readme import published as p
from tests.readme.pages import row

FOLDERS = (
    "spiral",
    "spiral-eager",
    "spiral-seeds",
    "spiral-tolerances",
    "spiral-julia",
    "spiral-julia-gradients",
    "8gaussians",
    "8gaussians-multilevel",
    "digits",
    "miniboone-sample",
    "map",
    "bench-cpu",
    "bench-scaling",
    "bench-memory",
    "bench-own-modules",
    "scale",
)
"""All folders of records, in the order of the table."""


def gradients() -> list[str]:
    """Gradient errors on the spiral, some rows of the record."""
    errors = {r.label: r for r in p.checks("spiral-tolerances").errors}
    wanted = ["disc-opt-euler-x1", "disc-opt-rk4-x1", "disc-opt-rk4-x4", "opt-disc-fixed-euler-explicit-x1"]
    wanted += [f"opt-disc-dopri5-rtol1e-{k:02d}" for k in (1, 3, 5, 7, 9)] + ["ad-adaptive-dopri5-rtol1e-05"]
    found = []
    for label in wanted:
        r = errors[label]
        own = "–" if r.error_discrete is None else number(r.error_discrete, 1)
        counts = f"{r.nfe_forward} / {r.nfe_backward} / {r.n_vjp}"
        found.append(row(f"`{label}`", number(r.error, 2), own, counts, number(1e3 * (r.seconds or 0.0))))
    return found


def own_loss() -> float:
    """The largest error of Disc-Opt's gradient against finite differences of its own loss, in the spiral's records."""
    found = p.suite().parts["spiral"].errors
    return max(r.error_discrete or 0.0 for r in found if r.method == "disc-opt")


def invertibility() -> list[str]:
    """The coarsest discretisations that leave an inverse."""
    return [row(*cells) for cells in Invertibility().tables(p.part("8gaussians"))[0].rows]


def winners() -> list[str]:
    """In how many cells of the map Disc-Opt is cheaper, by evaluations and by time."""
    found = cells(p.checks("map").winners)
    rows = []
    for target in TARGETS:
        evaluations, seconds = (
            [r for c in found if (r := c.ratio(target, what)) is not None] for what in ("evaluations", "seconds")
        )
        rows.append(
            row(
                f"{target:.0e}",
                str(len(evaluations)),
                str(sum(r > 1 for r in evaluations)),
                number(median(evaluations), 2),
                str(sum(r > 1 for r in seconds)),
                number(median(seconds), 2),
            )
        )
    return rows


def stability() -> list[str]:
    """The backward solve over growing horizons."""
    table = next(t for t in Winners().tables(p.checks("map")) if "backward solve" in t.title)
    return [row(*cells[:5]) for cells in table.rows if cells[1] in ("5", "10", "40")]


def records() -> list[str]:
    """How each folder was made: command, commit, whether the code was committed, seeds, engines."""
    return [_record(folder) for folder in FOLDERS]


def _record(folder: str) -> str:
    made = p.environments(folder)
    found = p.suite().parts.get(folder)
    seeds = str(len({r.seed for r in found.runs})) if found else "–"
    if not made:
        return row(f"[{folder}](published/{folder})", seeds, "–", "not recorded", "not recorded")
    commits = ", ".join(dict.fromkeys(f"`{e['git']['commit'][:7]}`{_changed(e)}" for e in made))
    when = ", ".join(dict.fromkeys(e["time"][:10] for e in made))
    return row(f"[{folder}](published/{folder})", seeds, _engines(folder), commits, when)


def _changed(environment: dict[str, Any]) -> str:
    return " with uncommitted changes" if environment["git"]["changed"] else ""


def _engines(folder: str) -> str:
    found = p.suite().parts.get(folder)
    if not found:
        return "–"
    return ", ".join(sorted({engine_of(r.summary or {}) for r in found.runs}))


def plans() -> list[str]:
    """Hours and cost of the whole study, by the model."""
    found = {(e["scenario"], e["gpus"]): e for e in p.lines("scale", "plans.jsonl")}
    rows = []
    for gpus in (1, 8, 64):
        low, central, high = (found[s, gpus] for s in ("low", "central", "high"))
        rows.append(
            row(
                str(gpus),
                f"{number(central['single_hours'])} ({number(low['single_hours'])} to {number(high['single_hours'])})",
                f"${central['single_cost']:,.0f}",
                f"{number(central['makespan_hours'])} ({number(low['makespan_hours'])} to "
                f"{number(high['makespan_hours'])})",
                f"${central['cost']:,.0f}",
            )
        )
    return rows


def against_the_study() -> list[str]:
    """What the model says where the study gives a number."""
    wanted = ("longest cell, titan-x, opt-disc", "the same problem, titan-x, disc-opt")
    found = {e["what"]: e for e in p.lines("scale", "references.jsonl")}
    return [
        row(w, f"{e['published']} {e['unit']}", number(e["low"]), number(e["central"]), number(e["high"]))
        for w in wanted
        for e in (found[w],)
    ]


def calibration() -> list[str]:
    """How far the model is off on this machine's CPU."""
    held_out = [e["predicted"] / e["measured"] for e in p.lines("scale", "trials.jsonl") if e["held_out"]]
    fitted = [e for e in p.lines("scale", "trials.jsonl") if not e["held_out"]]
    return [
        row("iterations the model was fitted to", str(len(fitted))),
        row("other iterations", str(len(held_out))),
        row("model over measured on these: median", number(median(held_out), 2)),
        row("model over measured on these: range", f"{number(min(held_out), 2)} to {number(max(held_out))}"),
    ]


def claims() -> list[str]:
    """All of these."""
    made = [gradients, invertibility, winners, stability, records, plans, against_the_study, calibration]
    return [claim for make in made for claim in make()]
