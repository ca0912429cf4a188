"""What the study is known by, beside the model's numbers for it.

Known are the reductions of training time from its abstract (39 % to 97 % on six of seven problems, once nine days to
under one) and two times of a forward loss of the spiral, read off pictures.  Its table of hours is not known, nor is
its GPU: a Titan X with 12 GB is what the same group's next paper names (arXiv 2006.00104), so that one is modelled.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from experiments.scale.assumptions import SCENARIOS, Scenario
from experiments.scale.cost import cell_cost
from experiments.scale.machine import machine
from experiments.scale.plan import HOUR
from experiments.scale.records import ReferenceRecord
from experiments.scale.study import METHOD_NAMES, PROBLEM_NAMES, cell

ERA = "titan-x"

DAY = 24.0


def references(device: str, hear: Callable[[str], None] = lambda _: None) -> list[ReferenceRecord]:
    """The comparisons; `device` is the model's own GPU."""
    records = []
    for problem in PROBLEM_NAMES:
        hear(f"comparison with the study: {problem}")
        records += [
            _record(
                f"{problem}: less time per iteration, {d}", "39 to 97, six of seven", "%", partial(_less, d, problem)
            )
            for d in dict.fromkeys((device, ERA))
        ]
    records.append(_record(f"longest cell, {ERA}, opt-disc", "9 (once)", "days", partial(_longest, "opt-disc")))
    records.append(_record(f"the same problem, {ERA}, disc-opt", "under 1", "days", partial(_longest, "disc-opt")))
    records.append(
        _record("spiral: evaluations of a forward loss, opt-disc over disc-opt", "36.9 (seconds)", "", _evaluations)
    )
    return records


def _record(what: str, published: str, unit: str, value: Callable[[str], float]) -> ReferenceRecord:
    low, central, high = (value(name) for name in SCENARIOS)
    return ReferenceRecord(what, published, low, central, high, unit)


def _hours(device: str, problem: str, method: str, scenario: str) -> float:
    assumed = Scenario(scenario)
    return cell_cost(cell(problem, method, assumed), machine(device, assumed), assumed).seconds / HOUR


def _less(device: str, problem: str, scenario: str) -> float:
    assumed = Scenario(scenario)
    disc, opt = (
        cell_cost(cell(problem, m, assumed), machine(device, assumed), assumed).seconds_iteration for m in METHOD_NAMES
    )
    return 100 * (1 - disc / opt)


def _longest(method: str, scenario: str) -> float:
    hours = {p: _hours(ERA, p, "opt-disc", scenario) for p in PROBLEM_NAMES}
    longest = max(hours, key=lambda p: hours[p])
    return _hours(ERA, longest, method, scenario) / DAY


def _evaluations(scenario: str) -> float:
    opt, disc = (cell("spiral", m, Scenario(scenario)).counts.forward for m in ("opt-disc", "disc-opt"))
    return opt / disc
