"""RQ4: is a flow that was trained with coarse steps still invertible, and what does it say under other solvers?"""

from __future__ import annotations

from collections.abc import Callable
from statistics import median
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
from matplotlib.figure import Figure

from pynode.studies.base import Study, Table, accuracy, complete_median, number
from pynode.studies.invertibility.record import RediscretisationRecord
from pynode.studies.results import Results
from pynode.studies.style import DASHES, MARKERS, legend_below, looks, new_figure, styled

if TYPE_CHECKING:
    from matplotlib.figure import Figure

Key = tuple[str, str, bool]
"""Trained by, scheme, adaptive."""

Pick = Callable[[RediscretisationRecord], "float | None"]


class Invertibility(Study):
    """Likelihood and inverse error of trained flows over schemes, steps and tolerances."""

    name: ClassVar[str] = "invertibility"
    question: ClassVar[str] = "Is the flow still invertible when trained with coarse steps?"

    def tables(self, results: Results) -> list[Table]:
        if not results.rediscretised:
            return []
        return [_coarsest(results), _all(results)]

    def figures(self, results: Results) -> dict[str, Figure | None]:
        return {"rediscretisation": draw_rediscretisation(results)}

    def finding(self, results: Results) -> str | None:
        parts = [
            f"{method}: {_words(key, setting)}"
            for key, setting in _coarsest_invertible(results.rediscretised).items()
            if (method := key[0]) and key[1] in ("rk38", "rk4") and setting is not None
        ]
        if not parts:
            return None
        bound = results.rediscretised[0].bound
        return f"Fewest steps with an inverse error below {bound:g}: {'; '.join(parts)}."


def _words(key: Key, setting: float) -> str:
    return f"rtol {setting:.0e}" if key[2] else f"{setting:.0f} of {key[1]}"


def _grouped(records: list[RediscretisationRecord]) -> dict[Key, dict[float, list[RediscretisationRecord]]]:
    """Records of all seeds by key and setting, coarse settings first."""
    groups: dict[Key, dict[float, list[RediscretisationRecord]]] = {}
    for r in records:
        groups.setdefault((r.trained_by, r.scheme, r.adaptive), {}).setdefault(r.setting, []).append(r)
    return {key: dict(sorted(by.items(), reverse=key[2])) for key, by in groups.items()}


def _coarsest_invertible(records: list[RediscretisationRecord]) -> dict[Key, float | None]:
    """The coarsest setting from which on all finer ones keep every seed below the bound; None where there is none."""
    settings: dict[Key, float | None] = {}
    for key, by_setting in _grouped(records).items():
        coarsest = None
        for setting, part in reversed(by_setting.items()):
            if not all(r.inverse is not None and r.inverse < r.bound for r in part):
                break
            coarsest = setting
        settings[key] = coarsest
    return settings


def _coarsest(results: Results) -> Table:
    rows = []
    for key, setting in _coarsest_invertible(results.rediscretised).items():
        part = _grouped(results.rediscretised)[key].get(setting, []) if setting is not None else []
        label = "none" if setting is None else accuracy(setting, adaptive=key[2])
        step = "–" if key[2] or setting is None else f"T / {setting:.0f}"
        rows.append([key[0], key[1], label, step, *_medians(part)])
    bound = results.rediscretised[0].bound
    columns = ["trained by", "used with", "coarsest", "largest step", "inverse error", "NLL", "NFE"]
    notes = [
        f"coarsest setting from which on every seed's inverse error stays below {bound:g} (the worse direction, mean "
        f"2-norm per sample, {results.rediscretised[0].samples} test samples); T is a block's horizon."
    ]
    return Table(f"RQ4 Coarsest invertible discretisation: {results.title}", columns, rows, notes)


def _all(results: Results) -> Table:
    rows = [
        [
            *key[:2],
            accuracy(setting, adaptive=key[2]),
            *_medians(part),
            _median(part, lambda r: r.inverse_data_frobenius),
        ]
        for key, by_setting in _grouped(results.rediscretised).items()
        for setting, part in by_setting.items()
    ]
    columns = ["trained by", "used with", "setting", "inverse error", "NLL", "NFE", "Frobenius / N"]
    notes = ["medians over seeds; Frobenius / N is the original study's figure, from data to base and back"]
    return Table(f"RQ4 Re-discretisation: {results.title}", columns, rows, notes, long=True)


def _medians(part: list[RediscretisationRecord]) -> list[str]:
    return [_median(part, lambda r: r.inverse), _median(part, lambda r: r.nll, 5), _median(part, lambda r: r.nfe)]


def _median(
    part: list[RediscretisationRecord], pick: Callable[[RediscretisationRecord], float | None], digits: int = 3
) -> str:
    return number(complete_median(map(pick, part)), digits)


@styled
def draw_rediscretisation(results: Results) -> Figure | None:
    """Four panels: inverse error (above) and NLL beyond the best (below), over steps (left) and tolerance (right)."""
    records = results.rediscretised
    if not records:
        return None
    figure, panels = new_figure(2, rows=2, height=5.2)
    methods = list(dict.fromkeys(r.trained_by for r in records))
    schemes = list(dict.fromkeys(r.scheme for r in records if not r.adaptive))
    style = looks(methods)
    best = {m: _best(records, m) for m in methods}
    for method in methods:
        for column, adaptive in enumerate((False, True)):
            for k, scheme in enumerate(schemes if not adaptive else [""]):
                part = [
                    r
                    for r in records
                    if r.trained_by == method and r.adaptive == adaptive and (adaptive or r.scheme == scheme)
                ]
                name = f"{method}, {scheme}" if scheme else method
                line: dict[str, Any] = {
                    "color": style[method].color,
                    "linestyle": DASHES[k % len(DASHES)],
                    "marker": MARKERS[k % len(MARKERS)],
                    "markersize": 3.5,
                }
                panels[column].plot(*_curve(part, lambda r: r.inverse), label=name, **line)
                excess = _curve(part, lambda r, m=method: _excess(r, best[m]))  # type: ignore[misc]
                panels[2 + column].plot(*excess, label=name, **line)
    for axes in panels:
        axes.set_xscale("log")
        if any(np.size(line.get_xdata()) for line in axes.get_lines()):  # an empty axis has no logarithm
            axes.set_yscale("log")
    bound = records[0].bound
    for axes in panels[:2]:
        axes.axhline(bound, color="black", linewidth=0.8, linestyle=":")
        axes.annotate(f"bound {bound:g}", (0.02, bound), xycoords=("axes fraction", "data"), fontsize=7, va="bottom")
    panels[0].set_ylabel("inverse error (mean 2-norm)")
    panels[2].set_ylabel("|NLL - NLL at the finest| (nats)")
    for axes, label in ((panels[2], "steps per block"), (panels[3], "rtol = atol of dopri5")):
        axes.set_xlabel(label)
    steps = sorted({r.setting for r in records if not r.adaptive})
    for axes in (panels[0], panels[2]):
        axes.set_xticks(steps, [f"{s:.0f}" for s in steps])
        axes.set_xticks([], minor=True)
    panels[3].set_xlim(panels[1].get_xlim())
    panels[0].set_title("fixed steps")
    panels[1].set_title("adaptive")
    for axes in (panels[1], panels[3]):
        axes.invert_xaxis()
    figure.suptitle(f"{results.title}: trained flows under other discretisations (colour: trained by)", fontsize=10)
    legend_below(figure, panels[0], columns=3)
    return figure


def _curve(records: list[RediscretisationRecord], pick: Pick) -> tuple[list[float], list[float]]:
    """Settings and the median over seeds of what `pick` gives, where there is something to show."""
    by_setting: dict[float, list[float]] = {}
    for record in records:
        value = pick(record)
        if value is not None and value > 0:
            by_setting.setdefault(record.setting, []).append(value)
    settings = sorted(by_setting)
    return settings, [median(by_setting[s]) for s in settings]


def _best(records: list[RediscretisationRecord], method: str) -> dict[int, float]:
    """By seed, the likelihood at the tightest tolerance (or most steps)."""
    by_seed: dict[int, float] = {}
    for seed in {r.seed for r in records}:
        part = [r for r in records if r.trained_by == method and r.seed == seed and r.nll is not None]
        tight = sorted((r for r in part if r.adaptive), key=lambda r: r.setting)
        fine = sorted((r for r in part if not r.adaptive), key=lambda r: -r.setting)
        for record in (*tight, *fine):
            by_seed.setdefault(seed, float(record.nll or 0.0))
    return by_seed


def _excess(record: RediscretisationRecord, best: dict[int, float]) -> float | None:
    if record.nll is None or record.seed not in best:
        return None
    return abs(record.nll - best[record.seed])
