"""Tables of a cost model, from its records alone."""

from __future__ import annotations

from collections.abc import Sequence
from statistics import median

from experiments.scale.assumptions import STATED
from experiments.scale.records import CellRecord, Model, PlanRecord, RunRecord, TrialRecord
from pynode.studies.base import Table, number

SCENARIOS = ("low", "central", "high")


def tables(found: Model) -> list[Table]:
    """All that there are records for."""
    made = [cells(found), plans(found), references(found), assumptions(found), trials(found), runs(found)]
    return [table for table in made if table.rows]


def cells(found: Model) -> Table:
    """Each problem by each method, one seed on one GPU."""
    rows = []
    for problem, method in dict.fromkeys((c.problem, c.method) for c in found.cells):
        by = {c.scenario: c for c in found.cells if (c.problem, c.method) == (problem, method)}
        c = by["central"]
        rows.append(
            [
                f"{problem} {method}",
                f"{number(c.nfe_forward)}/{number(c.nfe_backward)}/{number(c.n_vjp)}",
                number(c.operations / 1e9),
                number(c.launches / 1e3),
                f"{number(c.seconds_iteration)}",
                _range([by[s].seconds_iteration for s in SCENARIOS]),
                number(c.iterations),
                number(c.seconds / 3600),
                _range([by[s].seconds / 3600 for s in SCENARIOS]),
                number(100 * (c.seconds_validation + c.seconds_evaluation) / c.seconds, 2),
                _memory(c),
            ]
        )
    columns = ["cell", "f/back/vjp", "GFLOP", "1e3 operators", "s", "low–high", "iterations", "GPU h", "low–high"]
    notes = [
        "Of an iteration: field evaluations forwards and backwards and products, operations in products of matrices, "
        "operators started, seconds. Of a cell: iterations, GPU hours from start to end, the part that validation and "
        "the final evaluation take, and how the stages of Disc-Opt are kept. Central assumptions unless said."
    ]
    title = f"One seed on one {found.config['device']}"
    return Table(title, [*columns, "judging %", "stages"], rows, notes)


def _memory(cell: CellRecord) -> str:
    return f"{cell.memory}, {number(cell.kept_bytes / 1e9, 2)} GB" if cell.memory else ""


def _range(values: Sequence[float]) -> str:
    return f"{number(values[0])}–{number(values[-1])}"


def plans(found: Model) -> Table:
    """The whole study by numbers of GPUs."""
    rows = []
    for n in dict.fromkeys(p.gpus for p in found.plans):
        by = {p.scenario: p for p in found.plans if p.gpus == n}
        for scenario in SCENARIOS:
            p = by[scenario]
            rows.append([f"{n}, {scenario}", *_plan(p)])
    single = ["one GPU a cell: hours", "cost"]
    gangs = ["with gangs: hours", "cost", "cost of busy", "used", "widest", "bound"]
    count = found.plans[0].cells if found.plans else 0
    notes = [
        f"{count} cells, longest first. Hours: first start to last end; one GPU a cell as `sweep` runs it, or with "
        "gangs, several GPUs of a node for some cells, which `sweep` does not make (`torchrun` by hand); widest: the "
        "largest gang; bound: no schedule is shorter (least GPU hours over all GPUs, longest cell at its fastest). "
        f"Cost at ${number(found.config['price'])} a GPU hour, of all GPUs until the last end, those too that no cell "
        "uses; of busy: of those in use, if idle ones could be handed back at once; used: busy over reserved."
    ]
    return Table("The whole study", ["GPUs", *single, *gangs], rows, notes)


def _plan(p: PlanRecord) -> list[str]:
    return [
        number(p.single_hours),
        f"${number(p.single_cost)}",
        number(p.makespan_hours),
        f"${number(p.cost)}",
        f"${number(p.busy_cost)}",
        f"{100 * p.utilisation:.0f} %",
        str(p.widest),
        number(p.lower_bound_hours),
    ]


def references(found: Model) -> Table:
    """Beside what the study is known by."""
    rows = [
        [r.what, f"{r.published} {r.unit}".strip(), number(r.low), number(r.central), number(r.high)]
        for r in found.references
    ]
    notes = [
        "Known of the study: what its abstract says, and two times read off pictures. Which problems have which "
        "reduction, its hours and its GPU are unknown here; the Titan X is that of the same group's next paper. The "
        "model assumes equal numbers of iterations for both methods, and pynode's eager engine instead of its code."
    ]
    return Table("Beside the study", ["what", "known", *SCENARIOS], rows, notes)


def assumptions(found: Model) -> Table:
    """What is assumed."""
    rows = [
        [a.name, a.unit, *(f"{v:g}" if v < 1e6 else f"{v:.0e}" for v in (a.low, a.central, a.high)), a.reason]
        for a in found.assumptions
    ]
    return Table("Assumptions", ["what", "unit", *SCENARIOS, "why"], rows, list(STATED), long=True)


def trials(found: Model) -> Table:
    """Seconds of iterations, predicted and measured."""
    rows = [
        [
            t.name,
            "predicted" if t.held_out else "fitted",
            t.method,
            number(t.evaluations),
            f"{1e3 * t.predicted:.4g}",
            f"{1e3 * t.measured:.4g}",
            f"{1e3 * t.low:.4g}–{1e3 * t.high:.4g}",
            f"{1e3 * t.processor:.4g}",
            f"{t.ratio:.2f}",
        ]
        for t in found.trials
    ]
    columns = [
        "iteration of",
        "",
        "method",
        "evaluations",
        "ms model",
        "ms measured",
        "quartiles",
        "ms processor",
        "model/measured",
    ]
    notes = [
        f"This machine, one thread: {number(c.square_product / 1e9)} GFLOP/s in a plain product (measured apart, "
        f"{c.dtype}); fitted to the first {sum(not t.held_out for t in found.trials)} rows: "
        f"{'no' if c.bandwidth is None else number(c.bandwidth / 1e9)} GB/s (a copy: {number(c.copy / 1e9)}), "
        f"{number(c.launch * 1e6)} microseconds an operator."
        for c in found.calibration
    ]
    held_out = [t for t in found.trials if t.held_out]
    if held_out:
        middle, least, most = spread_of_ratios(held_out)
        busy = median(t.measured / t.processor for t in found.trials)
        notes.append(
            f"Predicted rows, model over measured: median {middle:.2f}, {least:.2f} to {most:.2f}. The clock ran "
            f"{busy:.2f} times as long as the processor (median; 1 where no other job had it)."
        )
    return Table("Iterations on this machine", columns, rows, notes)


def spread_of_ratios(records: Sequence[TrialRecord | RunRecord]) -> tuple[float, float, float]:
    """Median, least and greatest of predicted over measured."""
    ratios = [r.ratio for r in records]
    return median(ratios), min(ratios), max(ratios)


def runs(found: Model) -> Table:
    """Whole cells, predicted and measured."""
    rows = [
        [
            f"{r.name}, {r.at_once} at a time",
            number(r.predicted),
            number(r.measured),
            f"{r.ratio:.2f}",
        ]
        for r in found.runs
    ]
    notes = [
        "Seconds of a process from start to end; all: of all cells together. What every cell pays beside training and "
        "judging is measured on one of a single iteration. The model lets two processes run as fast as one."
    ]
    return Table("Cells on this machine", ["cell", "s model", "s measured", "model/measured"], rows, notes)
