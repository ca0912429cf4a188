"""RQ3 over all problems: what Disc-Opt saves against Opt-Disc at matched loss, problem by problem."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from pynode.records.runs import Run
from pynode.records.table_data import common_mark, marked
from pynode.settings.known import rivals
from pynode.studies.base import Study, Table, number, percent
from pynode.studies.load import IDLE, is_idle, load_text
from pynode.studies.reduction.spread import percent_with_range
from pynode.studies.reduction.study import engine_of, note_on_rows, pairs_of_runs, reductions
from pynode.studies.results import Results
from pynode.studies.style import PALETTE, headline, legend_below, new_figure, styled

BOOKKEEPING = {"seed", "checkpoint_every", "memory_every", "method"}
"""Entries of a run's configuration that leave its numbers as they are, or are compared by themselves."""

COLUMNS = [
    "problem",
    "engine",
    "seeds",
    "matched loss",
    "opt-disc s",
    "disc-opt s",
    "less time",
    "less NFE",
    "less evaluations",
    "load",
    "failed runs",
]

TABLES = ("csv", "npy", "table")
"""Problems that say nothing of their rows: tables of a user's own."""

KINDS = (("time_reduction", "time"), ("nfe_reduction", "NFE"), ("evaluation_reduction", "NFE + products"))


@dataclass(frozen=True)
class Comparison:
    """Disc-Opt against Opt-Disc on one problem: one setting of each, on one engine."""

    folder: str
    problem: str
    engine: str
    baseline: Run
    method: Run
    reduction: dict[str, Any]
    failed: int
    mark: str = ""
    """What has to be said of the rows of its runs."""

    @property
    def seeds(self) -> int:
        """The number of seeds that both methods finished."""
        return len(self.reduction["seeds"])

    @property
    def name(self) -> str:
        """The problem, or the folder where it says more: `miniboone-sample` rather than `npy`, `hepmass (higgs rows)`.

        Where the rows are a part of a published set, synthetic, or not the same for all seeds, the name says so:
        `power (part: 2.1 % of rows)`.
        """
        if self.folder.startswith(self.problem):
            return self.marked(self.problem)
        return self.marked(self.folder.removesuffix(f"-{self.engine}"))

    def marked(self, name: str) -> str:
        """`name` with the mark of the rows, where they have one, or the name of the problem where it is another one."""
        another = self.problem not in TABLES and not name.startswith(self.problem)
        return marked(name, self.mark or (f"{self.problem} rows" if another else ""))

    def repeats(self, other: Comparison) -> bool:
        """Whether the other has the same problem, engine and settings, and differs by its seeds at most."""
        pairs = ((self.baseline, other.baseline), (self.method, other.method))
        return self.engine == other.engine and all(
            a.setting == b.setting and _same_settings(a.config, b.config) for a, b in pairs
        )


class Suite(Study):
    """One row a problem and engine, from the results directories inside a suite's."""

    name: ClassVar[str] = "suite"
    question: ClassVar[str] = "How large is the reduction of training time over the problems?"

    def tables(self, results: Results) -> list[Table]:
        if not results.parts:
            return []
        kept, repeated = distinct(comparisons(results))
        named = list(zip(_names(kept), kept, strict=True))
        compared = {c.folder for c in kept} | {c.folder for c, _ in repeated}
        without = {folder: part for folder, part in results.parts.items() if folder not in compared}
        failed = {folder: n for folder, part in without.items() if (n := _failed(part))}
        rows = [_row(name, c) for name, c in named]
        rows += [[folder, "–", "0", *["–"] * 7, str(n)] for folder, n in failed.items()]
        notes = [
            "cost until the matched validation loss, the worse of the two methods' best ones, is first reached; "
            "medians over seeds, in brackets the range over them; evaluations are NFE with vector-Jacobian products; "
            f"load: the highest load average of the machine during the runs, idle up to {IDLE}."
        ]
        if any(c.reduction["threads"] > 1 for c in kept):
            notes.append("With each further thread of a run, an idle machine has a load of 1 more.")
        if repeated:
            shown = ", ".join(f"{c.folder} ({c.engine}; see {by.folder})" for c, by in repeated)
            notes.append(f"Left out, since another folder has the same problem, engine and settings: {shown}.")
        unlike = _on_other_rows(results)
        if unlike:
            shown = " ".join(f"{folder}: {note}" for folder, note in unlike)
            notes.append(f"Pairs of runs on different rows: {shown}")
        others = sorted(set(without) - set(failed) - {folder for folder, _ in unlike})
        if others:
            notes.append(f"Without a pair of Disc-Opt and Opt-Disc to compare: {', '.join(others)}.")
        tables = [Table("RQ3 disc-opt against opt-disc over the problems", COLUMNS, rows, notes)]
        if named:
            columns = ["problem", "engine", "iterations", "disc-opt", "opt-disc", "records in"]
            tables.append(Table("RQ3 the settings compared", columns, [_settings(name, c) for name, c in named]))
        return tables

    def figures(self, results: Results) -> dict[str, Figure | None]:
        kept, _ = distinct(comparisons(results))
        bars = [
            Group((name, c.engine, f"{c.seeds} seed{'s' if c.seeds > 1 else ''}", *_unlike_idle(c)), c.reduction)
            for name, c in zip(_names(kept), kept, strict=True)
        ]
        return {"suite": draw_suite(bars)}

    def finding(self, results: Results) -> str | None:
        kept, _ = distinct(comparisons(results))
        saved = {
            f"{name}, {c.engine}": value
            for name, c in zip(_names(kept), kept, strict=True)
            if (value := c.reduction["time_reduction"]) is not None
        }
        if not saved:
            return None
        fewer = sum(value > 0 for value in saved.values())
        low, high = min(saved, key=lambda n: saved[n]), max(saved, key=lambda n: saved[n])
        return (
            f"Disc-Opt needs less time than Opt-Disc in {fewer} of {len(saved)} comparisons, from "
            f"{percent(saved[low])} ({low}) to {percent(saved[high])} ({high})."
        )


def comparisons(results: Results) -> list[Comparison]:
    """Every pair of Disc-Opt and Opt-Disc within one backend, over the results directories of a suite."""
    pairs = []
    for folder, part in results.parts.items():
        for baseline, method in rivals():  # other pairs, such as multilevel training, are no comparison of the two
            reduction = reductions(part, baseline, method)
            if reduction:
                compared = pairs_of_runs(part, baseline, method)
                a, b = compared[0]
                engines = dict.fromkeys(engine_of(run.summary or {}) for run in (b, a))
                pairs.append(
                    Comparison(
                        folder,
                        part.problem,
                        " / ".join(engines),
                        a,
                        b,
                        reduction,
                        _failed(part, baseline, method),
                        common_mark(run.config for pair in compared for run in pair),
                    )
                )
    return pairs


def _on_other_rows(results: Results) -> list[tuple[str, str]]:
    """Folders with pairs of runs that are left out since they were trained on different rows, with a sentence."""
    return [
        (folder, note)
        for folder, part in results.parts.items()
        for baseline, method in rivals()
        if (note := note_on_rows(part, baseline, method))
    ]


def distinct(pairs: list[Comparison]) -> tuple[list[Comparison], list[tuple[Comparison, Comparison]]]:
    """The comparisons without repeats of one problem, engine and settings: the one with most seeds stays.

    The second value holds the repeats, each with the comparison that is shown instead.
    """
    kept: list[Comparison] = []
    repeated: list[tuple[Comparison, Comparison]] = []
    for pair in sorted(pairs, key=lambda c: -c.seeds):  # stable: of equal ones the first folder stays
        shown = next((c for c in kept if pair.repeats(c)), None)
        if shown is None:
            kept.append(pair)
        else:
            repeated.append((pair, shown))
    kept.sort(key=lambda c: (c.name, c.engine, c.folder))
    return kept, repeated


def _row(name: str, c: Comparison) -> list[str]:
    reduction = c.reduction
    return [
        name,
        c.engine,
        str(c.seeds),
        number(reduction["matched_loss"], 4),
        number(reduction["seconds"][reduction["baseline"]]),
        number(reduction["seconds"][reduction["method"]]),
        percent_with_range(reduction, "time_reduction"),
        percent_with_range(reduction, "nfe_reduction"),
        percent_with_range(reduction, "evaluation_reduction"),
        load_text(reduction["load_average"], reduction["threads"]),
        str(c.failed) if c.failed else "",
    ]


def _settings(name: str, c: Comparison) -> list[str]:
    iterations = str(c.method.config["iterations"])
    return [name, c.engine, iterations, c.method.setting, c.baseline.setting, c.folder]


def _unlike_idle(c: Comparison) -> tuple[str, ...]:
    """A line for the label of bars whose seconds an idle machine did not make, or may not have made."""
    load = c.reduction["load_average"]
    return () if is_idle(load, c.reduction["threads"]) else ("load unknown" if load is None else "not idle",)


def _names(kept: list[Comparison]) -> list[str]:
    """One name for each comparison: the problem, or the folder where two share problem and engine."""
    shared = Counter((c.name, c.engine) for c in kept)
    return [c.marked(c.folder) if shared[c.name, c.engine] > 1 else c.name for c in kept]


def _failed(part: Results, *methods: str) -> int:
    return sum(not run.finished for run in part.runs if not methods or run.method in methods)


def _same_settings(a: dict[str, Any], b: dict[str, Any]) -> bool:
    """Whether two configurations agree in all that both of them state; older ones state less."""
    methods = {k: v for k, v in a["method"].items() if k != "engine"}, b["method"]
    return _agree(*methods) and _agree({k: v for k, v in a.items() if k not in BOOKKEEPING}, b)


def _agree(a: dict[str, Any], b: dict[str, Any]) -> bool:
    return all(b[key] == value for key, value in a.items() if key in b)


@dataclass(frozen=True)
class Group:
    """The bars of one comparison: the parts of its label, and its reductions."""

    label: tuple[str, ...]
    reduction: Mapping[str, Any]

    def percents(self, kind: str) -> tuple[float, float, float] | None:
        """The median of a reduction, and the least and the greatest over seeds; None where the median is not known."""
        if self.reduction[kind] is None:
            return None
        value = 100 * float(self.reduction[kind])
        by_seed = [100 * float(s[kind]) for s in self.reduction["seeds"] if s[kind] is not None]
        return (value, min(by_seed), max(by_seed)) if len(by_seed) > 1 else (value, value, value)


@styled
def draw_suite(groups: Sequence[Group]) -> Figure | None:
    """One group of bars a comparison, from above: less time, less NFE, fewer evaluations; None where nothing is known.

    A line over a bar shows the range over seeds, a dash in place of a bar a reduction that is not known.
    """
    known = [group for group in groups if group.reduction["time_reduction"] is not None]
    if not known:
        return None
    figure, (axes,) = new_figure(1, height=0.5 * len(known) + 1.2)
    lowest = 0.0
    for k, (key, label) in enumerate(KINDS):
        for i, group in enumerate(known):
            y, percents = i + (k - 1) * 0.27, group.percents(key)
            if percents is None:
                _number(axes, "–", 0.0, y, right=True)
                continue
            value, low, high = percents
            axes.barh(y, value, 0.25, color=PALETTE[k], label=label)
            axes.plot([low, high], [y, y], color="black", linewidth=0.9)
            _number(axes, f"{value:.0f}", max(high, 0.0) if value >= 0 else min(low, 0.0), y, right=value >= 0)
            lowest = min(lowest, low)
    axes.axvline(0, color="black", linewidth=0.8)
    axes.set_yticks(range(len(known)), [", ".join(group.label) for group in known])
    axes.set_ylim(len(known) - 0.5, -0.5)
    axes.set_xlabel("less than Opt-Disc (%)")
    margin = 0.08 * (100 - lowest)  # room for the numbers
    axes.set_xlim(lowest - margin if lowest < 0 else 0.0, 100 + margin)
    axes.grid(axis="y", visible=False)
    headline(figure, "What Disc-Opt saves until the matched loss is reached")
    legend_below(figure, axes)
    return figure


def _number(axes: Axes, text: str, x: float, y: float, *, right: bool) -> None:
    """Writes the number of a bar at the end of its line."""
    axes.annotate(
        text,
        (x, y),
        ha="left" if right else "right",
        va="center",
        fontsize=6.5,
        xytext=(2 if right else -2, 0),
        textcoords="offset points",
    )
