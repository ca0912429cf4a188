"""Tables of the cost model: hours and cost of the whole study, beside what is known of it, and on this machine."""

from __future__ import annotations

from functools import cache

from experiments.scale.records import Model, read
from experiments.scale.report import inside_text, spread_of_ratios
from experiments.study.page.markdown import table
from experiments.study.page.published import PUBLISHED
from pynode.studies.base import number

SCENARIOS = ("low", "central", "high")
SCALE = PUBLISHED / "scale"
KNOWN = ("longest cell, titan-x, opt-disc", "the same problem, titan-x, disc-opt")


@cache
def model() -> Model:
    """The published model."""
    return read(SCALE)


def plans() -> str:
    """Hours and cost by numbers of GPUs."""
    by_scenario = {(plan.scenario, plan.gpus): plan for plan in model().plans}
    rows = []
    for gpus in (1, 8, 64):
        low, central, high = (by_scenario[s, gpus] for s in SCENARIOS)
        rows.append(
            [
                str(gpus),
                f"{number(central.single_hours)} ({number(low.single_hours)} to {number(high.single_hours)})",
                f"${central.single_cost:,.0f}",
                f"{number(central.makespan_hours)} ({number(low.makespan_hours)} to {number(high.makespan_hours)})",
                f"${central.cost:,.0f}",
            ]
        )
    columns = ["GPUs", "one GPU a cell: hours", "cost", "several GPUs for the longest cells: hours", "cost"]
    return table(columns, rows)


def against_the_study() -> str:
    """What the model says where the study gives a number, and whether its range holds that number."""
    references = {r.what: r for r in model().references}
    rows = [
        [what, r.known, *map(number, (r.low, r.central, r.high)), inside_text(r.inside)]
        for what in KNOWN
        for r in (references[what],)
    ]
    return table(["", "the study", "model, low", "central", "high", "inside the model's range"], rows)


def calibration() -> str:
    """How far the model is off on this machine's CPU."""
    held_out = [trial for trial in model().trials if trial.held_out]
    middle, least, most = spread_of_ratios(held_out)
    rows = [
        ["iterations the model was fitted to", str(len(model().trials) - len(held_out))],
        ["other iterations", str(len(held_out))],
        ["model over measured on these: median", number(middle, 2)],
        ["model over measured on these: range", f"{number(least, 2)} to {number(most)}"],
    ]
    return table(["iterations measured", ""], rows)
