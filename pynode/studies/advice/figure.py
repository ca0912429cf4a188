"""The figure of advice: gradient error against time, the front, and what is recommended."""

from __future__ import annotations

from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from pynode.studies.advice.recommendation import ROUGH, TARGETS, TRAINING, recommend
from pynode.studies.advice.settings import Setting, front, settings_of
from pynode.studies.results import Results
from pynode.studies.style import (
    PALETTE,
    Label,
    headline,
    label_points,
    legend_below,
    log_ticks,
    looks,
    new_figure,
    styled,
)

SHORT = {TRAINING: "training", ROUGH: "1e-2", "error 1e-4": "1e-4", "memory": "memory", "safest": "safest"}
"""Goals as the figure's labels name them."""

LEAST = 1e-16
"""Smaller errors are drawn here."""


@styled
def draw_advice(results: Results) -> Figure | None:
    """Left error against milliseconds with the front, right error against evaluations; recommended ones are labelled.

    An error is the largest over the weights.
    """
    if not results.advice or not results.advice_weights:
        return None
    settings = settings_of(results.advice, results.advice_weights)
    known = [s for s in settings if s.error is not None and s.failure is None]
    if not known:
        return None
    figure, (left, right) = new_figure(2, height=4.0)
    style = looks(dict.fromkeys(s.first.method for s in known))
    for method in dict.fromkeys(s.first.method for s in known):
        mine = [s for s in known if s.first.method == method]
        timed = [s for s in mine if s.seconds is not None]
        points: dict[str, Any] = {"linestyle": "none", "marker": style[method].marker, "color": style[method].color}
        left.plot([1000 * (s.seconds or 0.0) for s in timed], [_error(s) for s in timed], label=method, **points)
        pale = points | {"alpha": 0.45, "markersize": 3}
        right.plot([s.evaluations for s in mine], [_error(s) for s in mine], label=method, **pale)
    best = front(known)
    left.plot(
        [1000 * (s.seconds or 0.0) for s in best],
        [_error(s) for s in best],
        color="black",
        linewidth=0.8,
        drawstyle="steps-post",
        label="front",
    )
    for axes in (left, right):
        axes.set_xscale("log")
        axes.set_yscale("log")
        for target in TARGETS.values():
            axes.axhline(target, color="black", linewidth=0.6, linestyle=":")
    left.set_ylabel("relative error of the gradient")
    left.set_xlabel("loss and gradient (ms)")
    right.set_xlabel("NFE + vector-Jacobian products")
    chosen = _chosen(results)
    for axes, cost in ((left, _ms), (right, lambda s: float(s.evaluations))):
        for setting, _ in chosen:
            if cost(setting):
                ring: dict[str, Any] = {"marker": "o", "markersize": 9, "markerfacecolor": "none", "linestyle": "none"}
                axes.plot([cost(setting)], [_error(setting)], color=PALETTE[2], label="recommended", **ring)
    headline(figure, f"{results.title}: gradient error and cost; circles are recommended")
    legend_below(figure, left)
    log_ticks(left.xaxis, right.xaxis)
    _label(figure, left, chosen)
    return figure


def _chosen(results: Results) -> list[tuple[Setting, str]]:
    """Settings that are recommended, with the names of their goals."""
    goals: dict[str, list[str]] = {}
    by_key: dict[str, Setting] = {}
    for r in recommend(results.advice, results.advice_weights):
        if r.setting is not None and r.setting.error is not None:
            by_key[r.setting.first.key] = r.setting
            goals.setdefault(r.setting.first.key, []).append(SHORT[r.goal])
    return [(by_key[key], ", ".join(names)) for key, names in goals.items()]


def _label(figure: Figure, axes: Axes, chosen: list[tuple[Setting, str]]) -> None:
    labels = [Label(names, (_ms(s), _error(s)), "black") for s, names in chosen if s.seconds is not None]
    label_points(figure, axes, labels)


def _ms(setting: Setting) -> float:
    return 1000 * (setting.seconds or 0.0)


def _error(setting: Setting) -> float:
    return max(setting.error or 0.0, LEAST)
