"""RQ3: how much time and how many evaluations does Disc-Opt save at equal loss?"""

from __future__ import annotations

import math
from collections.abc import Callable
from statistics import median
from typing import TYPE_CHECKING, Any, ClassVar

from matplotlib.figure import Figure

from pynode.records.runs import Run
from pynode.records.table_data import differences_of_rows
from pynode.settings.known import multilevel, rivals
from pynode.studies.base import Study, Table, complete_median, number, over_seeds
from pynode.studies.load import load_and_threads, load_note
from pynode.studies.losses import (
    OVER_WINDOWS,
    Spent,
    best_quality,
    between,
    compared_loss,
    is_likelihood,
    spent_until,
    upper_limit,
)
from pynode.studies.reduction.spread import KINDS, percent_with_range, ranges
from pynode.studies.results import Results
from pynode.studies.style import headline, legend_below, log_ticks, looks, new_figure, styled

if TYPE_CHECKING:
    from matplotlib.figure import Figure

FACTORS = (
    ("seconds", "seconds", 1.0),
    ("iterations", "iterations", 1.0),
    ("evaluations per iteration", "evaluations", 1.0),
    ("microseconds per evaluation", "per_evaluation", 1e6),
    ("microseconds of the optimiser per iteration", "optimiser", 1e6),
)
"""What a table of the factors shows: title, key, scale."""

COSTS = ("seconds", "nfe", "evaluations")
N_TARGETS = 6
N_LOSSES = 80


def pairs() -> list[tuple[str, str]]:
    """Baseline, and what is held against it: first within one backend, then across, then training by levels."""
    (_, plain), *elsewhere = rivals()
    across = [(baseline, plain) for baseline, _ in elsewhere]
    return [*rivals(), *across, *((method, multilevel(method)) for _, method in rivals())]


class Reduction(Study):
    """The cost of each method until it first reaches a given loss."""

    name: ClassVar[str] = "reduction"
    question: ClassVar[str] = "How large is the reduction of training time and of evaluations at matched loss?"

    def tables(self, results: Results) -> list[Table]:
        return [table for pair in pairs() for table in self._tables(results, *pair)]

    def _tables(self, results: Results, baseline: str, cheaper: str) -> list[Table]:
        saved = reductions(results, baseline, cheaper)
        left_out = note_on_rows(results, baseline, cheaper)
        if not saved:
            title = f"RQ3 {cheaper} against {baseline} at equal loss: {results.title}"
            return [Table(title, ["loss"], [], [left_out])] if left_out else []
        base, method = saved["baseline"], saved["method"]
        digits = _digits(results)
        rows = [
            [
                number(entry["loss"], digits),
                number(entry["seconds"][base]),
                number(entry["seconds"][method]),
                percent_with_range(entry, "time_reduction"),
                number(entry["nfe"][base]),
                number(entry["nfe"][method]),
                percent_with_range(entry, "nfe_reduction"),
            ]
            for entry in [*saved["targets"][:-1], saved | {"loss": saved["matched_loss"]}]
        ]
        columns = ["loss", f"{base} s", f"{method} s", "less time", f"{base} NFE", f"{method} NFE", "less NFE"]
        faithful = any(run.config["faithful"] for run in results.runs)
        kind = compared_loss(results.runs)
        if faithful:
            kind += ", each method's own, as in the study"
        elif kind == OVER_WINDOWS:
            kind += ", before L-BFGS finishes the training"
        notes = [
            f"cost until a loss ({kind}) is first reached; last row: the matched loss, the worse of the two best ones"
            f"{' (of each seed by itself, medians)' if len(saved['seeds']) > 1 else ''}. "
            "NFE is NFE-F + NFE-B; with vector-Jacobian products the last reduction is "
            f"{percent_with_range(saved, 'evaluation_reduction')}. Per iteration {method} is "
            f"{number(saved['per_iteration_time_ratio'])} times faster (forward solve and loss alone: "
            f"{number(saved['forward_only_ratio'])} times)."
        ]
        if len(saved["seeds"]) > 1:
            notes.append(f"Medians over {len(saved['seeds'])} seeds, in brackets their range.")
        if note := load_note(saved["load_average"], saved["threads"]):
            notes.append(note)
        if left_out:
            notes.append(left_out)
        title = f"RQ3 {method} against {base} at equal loss: {results.title}"
        return [Table(title, columns, rows, notes), *self._decomposition(results, saved)]

    def _decomposition(self, results: Results, saved: dict[str, Any]) -> list[Table]:
        """Where the difference in time comes from: the factors that make it up."""
        base, method = saved["baseline"], saved["method"]
        factors = saved["factors"]
        if any(value is None for part in factors.values() for value in part.values()):
            return []
        rows = [
            [title, number(mine[base] * scale), number(mine[method] * scale), number(_over(mine[base], mine[method]))]
            for title, key, scale in FACTORS
            for mine in (factors[key],)
        ]
        return [
            Table(
                f"RQ3 what the time is made of: {results.title}",
                ["until the matched loss", base, method, f"{base} / {method}"],
                rows,
                [
                    "seconds = iterations x (evaluations per iteration x seconds per evaluation + optimiser)"
                    f"{', in each seed by itself; shown are medians' if len(saved['seeds']) > 1 else ''}; the time "
                    "per evaluation is that of forward solve, loss and gradient over all field evaluations and "
                    f"vector-Jacobian products, and holds what the engine ({_engines(results, base, method)}) spends "
                    "around them."
                ],
            )
        ]

    def figures(self, results: Results) -> dict[str, Figure | None]:
        saved = main_reduction(results)
        return {"reduction": draw_reduction(results, saved["matched_loss"] if saved else None)}

    def finding(self, results: Results) -> str | None:
        return " ".join(sentence for pair in pairs() if (sentence := self._finding(results, *pair))) or None

    def _finding(self, results: Results, baseline: str, cheaper: str) -> str | None:
        saved = reductions(results, baseline, cheaper)
        if not saved or saved["time_reduction"] is None:
            return None
        return (
            f"To reach a loss of {number(saved['matched_loss'], _digits(results))}, {saved['method']} needs "
            f"{_change(saved['time_reduction'])} time and {_change(saved['nfe_reduction'], 'fewer')} field evaluations "
            f"(NFE) than {saved['baseline']}."
        )


def main_reduction(results: Results) -> dict[str, Any]:
    """`reductions` of the first of `pairs` that has runs."""
    return next((saved for pair in pairs() if (saved := reductions(results, *pair))), {})


def reductions(results: Results, baseline: str = "opt-disc", method: str = "disc-opt") -> dict[str, Any]:
    """What `method` saves against `baseline` at matched loss, for `summary.json`; empty where either has no run,
    and for a sweep over accuracies.

    Runs are paired by seed; a pair that was trained on different rows is left out, as `note_on_rows` says.  Figures at
    the top are medians over the pairs, `ranges` the least and the greatest reduction over them, `load_average` the
    highest load that their machine had, `threads` how many of the runs' own are in it.  A reduction is 1 - cost /
    cost of the baseline, negative where `method` spends more, None where a loss was not reached or cost the baseline
    nothing.
    """
    pairs = pairs_of_runs(results, baseline, method)
    if not pairs:
        return {}
    per_seed = []
    for a, b in pairs:
        target = max(_best(a), _best(b))
        per_seed.append({"seed": a.seed, "matched_loss": target, **_compare(a, b, target, baseline, method)})
    matched = median(entry["matched_loss"] for entry in per_seed)
    load, threads = load_and_threads(run for pair in pairs for run in pair)
    return {
        "baseline": baseline,
        "method": method,
        "matched_loss": matched,
        "factors": _factors(pairs, per_seed, baseline, method),
        **_median_of(per_seed, baseline, method),
        "per_iteration_time_ratio": _ratio(pairs, "seconds_per_iteration"),
        "forward_only_ratio": _ratio(pairs, "seconds_forward"),
        "load_average": load,
        "threads": threads,
        "seeds": per_seed,
        "targets": [
            {"loss": t, **_median_of([_compare(a, b, t, baseline, method) for a, b in pairs], baseline, method)}
            for t in _targets(pairs, max(entry["matched_loss"] for entry in per_seed))
        ],
    }


def pairs_of_runs(results: Results, baseline: str, method: str) -> list[tuple[Run, Run]]:
    """The finished runs of the two methods by seed, without pairs on different rows; none for a sweep."""
    return [(a, b) for a, b in _by_seed(results, baseline, method) if not _different(a, b)]


def note_on_rows(results: Results, baseline: str, method: str) -> str | None:
    """A sentence on the pairs of runs that are left out since they were trained on different rows."""
    unlike = {b.seed: _different(a, b) for a, b in _by_seed(results, baseline, method) if _different(a, b)}
    if not unlike:
        return None
    seeds = "; ".join(f"seed {seed}: {', '.join(different)}" for seed, different in unlike.items())
    return f"Left out, since {baseline} and {method} were trained on different rows ({seeds})."


def _by_seed(results: Results, baseline: str, method: str) -> list[tuple[Run, Run]]:
    if results.is_sweep:
        return []
    return [
        (a, b)
        for a in results.runs
        for b in results.runs
        if (a.method, b.method) == (baseline, method) and a.seed == b.seed and _comparable(a) and _comparable(b)
    ]


def _different(a: Run, b: Run) -> list[str]:
    return differences_of_rows(a.config.get("data"), b.config.get("data"))


def _compare(a: Run, b: Run, target: float, baseline: str, method: str) -> dict[str, Any]:
    spent = {baseline: spent_until(a, target), method: spent_until(b, target)}
    costs: dict[str, Any] = {c: {n: None if s is None else getattr(s, c) for n, s in spent.items()} for c in COSTS}
    return costs | _reductions_of(spent[baseline], spent[method])


def _factors(
    pairs: list[tuple[Run, Run]], per_seed: list[dict[str, Any]], baseline: str, method: str
) -> dict[str, dict[str, float | None]]:
    """What the seconds until the matched loss are made of, medians over seeds; None where a loss was not reached."""
    factors: dict[str, dict[str, float | None]] = {key: {} for _, key, _ in FACTORS}
    for name, runs in ((baseline, [a for a, _ in pairs]), (method, [b for _, b in pairs])):
        spent = [spent_until(run, entry["matched_loss"]) for run, entry in zip(runs, per_seed, strict=True)]
        reached = [s for s in spent if s is not None and s.iterations]
        for key, values in {
            "seconds": [s.seconds for s in reached],
            "iterations": [float(s.iterations) for s in reached],
            "evaluations": [s.evaluations / s.iterations for s in reached],
            "per_evaluation": [s.solving / s.evaluations for s in reached if s.evaluations],
            "optimiser": [(s.seconds - s.solving) / s.iterations for s in reached],
        }.items():
            factors[key][name] = median(values) if len(values) == len(spent) else None
    return factors


def _over(a: float, b: float) -> float | None:
    return a / b if b else None


def engine_of(summary: dict[str, Any]) -> str:
    """The engine that ran it; older runs do not record it and had one engine for each backend."""
    return str(summary.get("engine") or ("julia" if summary.get("backend") == "julia" else "eager"))


def _engines(results: Results, *methods: str) -> str:
    engines = {
        name: ", ".join(sorted({engine_of(r.summary or {}) for r in results.runs if r.method == name}))
        for name in methods
    }
    return "; ".join(dict.fromkeys(f"{engine} for {name}" for name, engine in engines.items()))


def _reductions_of(base: Spent | None, other: Spent | None) -> dict[str, float | None]:
    def less(pick: Callable[[Spent], float]) -> float | None:
        if base is None or other is None or pick(base) == 0:
            return None
        return 1 - pick(other) / pick(base)

    return {
        "time_reduction": less(lambda s: s.seconds),
        "nfe_reduction": less(lambda s: s.nfe),
        "evaluation_reduction": less(lambda s: s.evaluations),
    }


def _median_of(entries: list[dict[str, Any]], baseline: str, method: str) -> dict[str, Any]:
    costs = {c: {n: complete_median(e[c][n] for e in entries) for n in (baseline, method)} for c in COSTS}
    return {**costs, **{k: complete_median(e[k] for e in entries) for k in KINDS}, "ranges": ranges(entries)}


def _targets(pairs: list[tuple[Run, Run]], matched: float) -> list[float]:
    """Losses from where the runs began down to the last that all reached, evenly spaced in their logarithm, or as they
    are for negative log-likelihoods."""
    runs = [run for pair in pairs for run in pair]
    start = min(next(q for q in run.quality() if q is not None) for run in runs)
    return between(start, matched, N_TARGETS, linear=is_likelihood(runs))


def _digits(results: Results) -> int:
    """Digits of a loss: one more for negative log-likelihoods, whose differences count."""
    return 4 if is_likelihood(results.runs) else 3


def _ratio(pairs: list[tuple[Run, Run]], key: str) -> float | None:
    base = over_seeds([a for a, _ in pairs], lambda run: (run.summary or {}).get(key))
    other = over_seeds([b for _, b in pairs], lambda run: (run.summary or {}).get(key))
    return base / other if base and other else None


def _comparable(run: Run) -> bool:
    return run.finished and math.isfinite(_best(run))


def _best(run: Run) -> float:
    return best_quality(run)


def _change(reduction: float | None, smaller: str = "less") -> str:
    """A reduction in words; `smaller` is "less", or "fewer" for what is counted."""
    if reduction is None:
        return "an unknown amount of"
    return f"{100 * abs(reduction):.1f} % {smaller if reduction >= 0 else 'more'}"


def _spent_over_losses(run: Run, limit: float | None) -> list[tuple[float, Spent]]:
    """Losses that a run reached and what it had spent by then; a `limit` cuts off the large ones of likelihoods."""
    start = next(q for q in run.quality() if q is not None)
    if limit is not None:
        start = min(start, limit)
    losses = between(start, best_quality(run), N_LOSSES, linear=limit is not None)
    reached = [(loss, spent_until(run, loss)) for loss in losses]
    return [(loss, spent) for loss, spent in reached if spent is not None and spent.evaluations > 0]


@styled
def draw_reduction(results: Results, matched: float | None) -> Figure | None:
    """Two panels: seconds and evaluations until a loss is reached, over the losses that were; `matched` is marked.

    Negative log-likelihoods are on linear axes, without the huge ones of the beginning.
    """
    runs = [run for run in results.runs if run.finished and best_quality(run) < float("inf")]
    if results.is_sweep or not runs or len({run.method for run in runs}) < 2:
        return None
    likelihood = is_likelihood(runs)
    limit = upper_limit([q for run in runs for q in run.quality() if q is not None])
    curves = {run.label: _spent_over_losses(run, limit if likelihood else None) for run in runs}
    if not likelihood and not any(curves.values()):  # nothing for axes of logarithms: no loss below the first
        return None
    figure, (left, right) = new_figure(2, height=3.2)
    style = looks(run.method for run in runs)
    for run in runs:
        kept = curves[run.label]
        x = [loss for loss, _ in kept]
        left.plot(x, [s.seconds for _, s in kept], label=run.method, **style[run.method].line())
        right.plot(x, [s.evaluations for _, s in kept], label=run.method, **style[run.method].line())
    for axes in (left, right):
        if likelihood:
            axes.set_ylim(bottom=0)
            axes.locator_params(axis="x", nbins=5)
            axes.ticklabel_format(axis="y", style="sci", scilimits=(-3, 5))
        else:
            axes.set_xscale("log")
            axes.set_yscale("log")
        axes.invert_xaxis()
        axes.set_xlabel(f"{'NLL (nats)' if likelihood else 'loss'} to reach (better to the right)")
        if matched is not None:
            axes.axvline(matched, color="black", linewidth=0.9, linestyle=":", label="matched loss")
    left.set_ylabel("training time (s)")
    left.set_title("time until reached")
    right.set_ylabel("NFE + vector-Jacobian products")
    right.set_title("evaluations until reached")
    if not likelihood:
        log_ticks(left.xaxis, left.yaxis, right.xaxis, right.yaxis)
    headline(figure, f"{results.title}: cost of reaching a loss")
    legend_below(figure, left)
    return figure
