"""Tables, figure and findings of a cost model, from its records alone."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from statistics import median

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import NullFormatter, NullLocator, StrMethodFormatter

from experiments.benchmarks.load import Load
from experiments.scale.assumptions import STATED
from experiments.scale.records import CellRecord, Model, PlanRecord, TrialRecord, read
from pynode.studies.base import Table, number
from pynode.studies.render import Rendered
from pynode.studies.render import write as write_files
from pynode.studies.style import looks, new_figure, styled

SCENARIOS = ("low", "central", "high")

GREY = "#777777"


def tables(model: Model) -> list[Table]:
    """All that there are records for."""
    made = [cells(model), plans(model), references(model), assumptions(model), trials(model)]
    return [table for table in made if table.rows]


def cells(model: Model) -> Table:
    """Each problem by each method, one seed on one GPU."""
    rows = []
    for problem, method in dict.fromkeys((c.problem, c.method) for c in model.cells):
        by = {c.scenario: c for c in model.cells if (c.problem, c.method) == (problem, method)}
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
    title = f"One seed on one {model.config['device']}"
    return Table(title, [*columns, "judging %", "stages"], rows, notes)


def _memory(cell: CellRecord) -> str:
    return f"{cell.memory}, {number(cell.kept_bytes / 1e9, 2)} GB" if cell.memory else ""


def _range(values: Sequence[float]) -> str:
    return f"{number(values[0])}–{number(values[-1])}"


def plans(model: Model) -> Table:
    """The whole study by numbers of GPUs."""
    rows = []
    for n in dict.fromkeys(p.gpus for p in model.plans):
        by = {p.scenario: p for p in model.plans if p.gpus == n}
        for scenario in SCENARIOS:
            p = by[scenario]
            rows.append([f"{n}, {scenario}", *_plan(p)])
    single = ["one GPU a cell: hours", "cost"]
    gangs = ["with gangs: hours", "cost", "cost of busy", "used", "widest", "bound"]
    count = model.plans[0].cells if model.plans else 0
    notes = [
        f"{count} cells, longest first. Hours: first start to last end; one GPU a cell as `sweep` runs it, or with "
        "gangs, several GPUs of a node for some cells, which `sweep` does not make (`torchrun` by hand); widest: the "
        "largest gang; bound: no schedule is shorter (least GPU hours over all GPUs, longest cell at its fastest). "
        f"Cost at ${number(model.config['price'])} a GPU hour, of all GPUs until the last end, those too that no cell "
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


def references(model: Model) -> Table:
    """Beside what the study is known by."""
    rows = [
        [
            r.what,
            r.known,
            *(number(v) for v in (r.low, r.central, r.high)),
            inside_text(r.inside),
        ]
        for r in model.references
    ]
    notes = [
        "Known of the study: what its abstract says, and two times read off pictures. Which problems have which "
        "reduction, its hours and its GPU are unknown here; the Titan X is that of the same group's next paper. The "
        "model assumes equal numbers of iterations for both methods, and pynode's eager engine instead of its code.",
        *outside(model),
    ]
    return Table("Beside the study", ["what", "known", *SCENARIOS, "inside"], rows, notes)


def inside_text(inside: bool | None) -> str:
    """Whether a known number lies inside the model's range, for a table."""
    return "–" if inside is None else "yes" if inside else "no"


def outside(model: Model) -> list[str]:
    """A sentence for each known number that the model's own range excludes."""
    return [
        f"The model's own range excludes what is known of the study: {r.what}, {r.known} there, "
        f"{number(r.low)} to {number(r.high)} by the model."
        for r in model.references
        if r.inside is False
    ]


def assumptions(model: Model) -> Table:
    """What is assumed."""
    rows = [
        [a.name, a.unit, *(f"{v:g}" if v < 1e6 else f"{v:.0e}" for v in (a.low, a.central, a.high)), a.reason]
        for a in model.assumptions
    ]
    return Table("Assumptions", ["what", "unit", *SCENARIOS, "why"], rows, list(STATED), long=True)


def trials(model: Model) -> Table:
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
        for t in model.trials
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
        f"{c.dtype}); fitted to the first {sum(not t.held_out for t in model.trials)} rows: "
        f"{'no' if c.bandwidth is None else number(c.bandwidth / 1e9)} GB/s (a copy: {number(c.copy / 1e9)}), "
        f"{number(c.launch * 1e6)} microseconds an operator."
        for c in model.calibration
    ]
    held_out = [t for t in model.trials if t.held_out]
    if held_out:
        middle, least, most = spread_of_ratios(held_out)
        busy = median(t.measured / t.processor for t in model.trials)
        notes.append(
            f"Predicted rows, model over measured: median {middle:.2f}, {least:.2f} to {most:.2f}. The clock ran "
            f"{busy:.2f} times as long as the processor (median; 1 where no other job had it)."
        )
        notes.append(Load(model.environment.get("load_average")).note)
    return Table("Iterations on this machine", columns, rows, notes)


def spread_of_ratios(records: Sequence[TrialRecord]) -> tuple[float, float, float]:
    """Median, least and greatest of predicted over measured."""
    ratios = [r.ratio for r in records]
    return median(ratios), min(ratios), max(ratios)


@styled
def draw_scale(model: Model) -> Figure:
    """GPU hours of each problem by each method; hours of the whole study by GPUs; and, where it was checked, seconds of
    iterations, predicted against measured."""
    checked = bool(model.trials)
    figure, panels = new_figure(2 + checked, width=9.6 if checked else 7.2, height=3.4)
    _hours_panel(panels[0], model)
    _plans_panel(panels[1], model)
    if checked:
        _check_panel(panels[2], model)
    return figure


def _hours_panel(axes: Axes, model: Model) -> None:
    problems = list(dict.fromkeys(c.problem for c in model.cells))
    methods = list(dict.fromkeys(c.method for c in model.cells))
    style = looks(methods)
    for rank, method in enumerate(methods):
        shift = 0.16 * (2 * rank - len(methods) + 1)
        for k, problem in enumerate(problems):
            by = {c.scenario: c.seconds / 3600 for c in model.cells if (c.problem, c.method) == (problem, method)}
            look = style[method]
            axes.plot([by["low"], by["high"]], [k + shift] * 2, color=look.color, linewidth=2.5, alpha=0.5)
            label = method if k == 0 else None
            axes.plot([by["central"]], [k + shift], color=look.color, marker=look.marker, linestyle="none", label=label)
    axes.set_yticks(range(len(problems)), problems)
    axes.set_ylim(len(problems) - 0.4, -0.6)
    axes.set_xscale("log")
    axes.set_xlabel("GPU hours of a run (bar: low to high)")
    axes.set_title(f"one seed, one {model.config['device']}")
    axes.legend(loc="upper right")


def _plans_panel(axes: Axes, model: Model) -> None:
    gpus = list(dict.fromkeys(p.gpus for p in model.plans))
    by = {(p.scenario, p.gpus): p for p in model.plans}
    color = looks(["study"])["study"].color
    low, central, high = ([by[s, n].makespan_hours for n in gpus] for s in ("low", "central", "high"))
    axes.fill_between(gpus, low, high, color=color, alpha=0.2, linewidth=0)
    axes.plot(gpus, central, color=color, marker="o", label="with gangs")
    single = [by["central", n].single_hours for n in gpus]
    axes.plot(gpus, single, color=color, marker="s", markerfacecolor="white", linestyle=":", label="one GPU a cell")
    bound = [by["central", n].lower_bound_hours for n in gpus]
    axes.plot(gpus, bound, color=GREY, linestyle="--", linewidth=1, label="lower bound")
    for n, hours in zip(gpus, central, strict=True):
        axes.annotate(
            f"${by['central', n].cost:,.0f}",
            (n, hours),
            xytext=(0, 7),
            textcoords="offset points",
            ha="center",
            fontsize=8,
        )
    axes.set_xscale("log", base=2)
    axes.set_yscale("log")
    axes.set_xticks(gpus, [str(n) for n in gpus])
    axes.xaxis.set_minor_locator(NullLocator())
    axes.yaxis.set_major_formatter(StrMethodFormatter("{x:g}"))
    axes.yaxis.set_minor_formatter(NullFormatter())
    axes.margins(x=0.12)
    axes.set_xlabel("GPUs")
    axes.set_ylabel("hours (band: low to high)")
    axes.set_title(f"the whole study, {model.plans[0].cells if model.plans else 0} cells")
    axes.legend(loc="lower left")


def _check_panel(axes: Axes, model: Model) -> None:
    style = looks(["disc-opt", "opt-disc"])
    pairs = [(t.predicted, t.measured) for t in model.trials]
    ends = [v for pair in pairs for v in pair]
    line = [min(ends) / 1.5, max(ends) * 1.5]
    axes.plot(line, line, color=GREY, linewidth=1)
    axes.fill_between(line, [v / 2 for v in line], [v * 2 for v in line], color=GREY, alpha=0.12, linewidth=0)
    for method, look in style.items():
        if method in {t.method for t in model.trials}:
            mine = [t for t in model.trials if t.held_out and t.method == method]
            axes.plot(
                [t.measured for t in mine],
                [t.predicted for t in mine],
                color=look.color,
                marker=look.marker,
                linestyle="none",
                label=f"iteration, {method}",
            )
    seen = [t for t in model.trials if not t.held_out]
    axes.plot(
        [t.measured for t in seen],
        [t.predicted for t in seen],
        color=GREY,
        marker=".",
        linestyle="none",
        label="fitted",
    )
    axes.set_xscale("log")
    axes.set_yscale("log")
    axes.set_xlabel("seconds measured")
    axes.set_ylabel("seconds predicted")
    axes.set_title("on this machine (band: factor 2)")
    axes.legend(loc="upper left")


def render(directory: Path, *, write: bool = True) -> Rendered:
    """Writes `directory`/tables.md and `directory`/figures/; raises `NoCostModel` where there are no records.

    Writes nothing with `write=False`.
    """
    model = read(directory)
    rendered = Rendered(tables=tables(model), findings=findings(model))
    if write:
        rendered.paths += write_files(rendered.tables, {"scale": draw_scale(model)}, directory)
    return rendered


def findings(model: Model) -> list[str]:
    """What it comes to, a sentence for each number of GPUs, and how well the model did here."""
    sentences = []
    for n in dict.fromkeys(p.gpus for p in model.plans):
        low, central, high = (
            {p.scenario: p for p in model.plans if p.gpus == n}[s] for s in ("low", "central", "high")
        )
        sentences.append(
            f"{n} GPU{'s' * (n > 1)}: {number(central.single_hours)} h "
            f"({number(low.single_hours)} to {number(high.single_hours)}), "
            f"${number(central.single_cost)} (${number(low.single_cost)} to ${number(high.single_cost)})"
            + (f"; with gangs {number(central.makespan_hours)} h, ${number(central.cost)}." if n > 1 else ".")
        )
    sentences += outside(model)
    held_out = [t for t in model.trials if t.held_out]
    if held_out:
        middle, least, most = spread_of_ratios(held_out)
        sentences.append(
            f"Seconds of {len(held_out)} held-out iterations, predicted over measured: median {middle:.2f}, "
            f"{least:.2f} to {most:.2f}."
        )
    return sentences
