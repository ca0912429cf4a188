"""Error of each gradient against its cost."""

from __future__ import annotations

from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, NullFormatter

from pynode.figures.style import family_look, legend_below, new_figure, styled
from pynode.records.gradient import GradientErrorRecord
from pynode.records.results import Results


@styled
def draw(results: Results) -> Figure | None:
    """Two panels: relative error against evaluations and against seconds, one curve a family of methods."""
    records = [r for r in results.errors if r.error]
    if not records:
        return None
    figure, (left, right) = new_figure(2, height=3.9)
    methods = list(dict.fromkeys(r.method for r in records))
    families: dict[str, list[GradientErrorRecord]] = {}
    for record in records:
        families.setdefault(results.family_of(record), []).append(record)
    for name, curve in families.items():
        rank = [f for f, c in families.items() if c[0].method == curve[0].method].index(name)
        look = family_look(curve[0].method, rank, methods)
        errors = [r.error or 0.0 for r in curve]
        for axes, x in (
            (left, [float(r.evaluations) for r in curve]),
            (right, [1000 * (r.seconds or 0.0) for r in curve]),
        ):
            axes.plot(x, errors, label=name, **look.points())
        for record in (curve[0], curve[-1]):
            text = f"{record.setting:.0e}" if record.adaptive else f"{record.setting:.0f}"
            left.annotate(
                text,
                (record.evaluations, record.error or 0.0),
                fontsize=6.5,
                color=look.color,
                xytext=(4, 3),
                textcoords="offset points",
            )
    uncertainty = max(r.reference_uncertainty for r in records)
    for axes in (left, right):
        axes.set_xscale("log")
        axes.set_yscale("log")
        axes.axhline(uncertainty, color="black", linewidth=0.8, linestyle=":", label="reference uncertainty")
        axes.set_ylabel("relative error of the gradient")
    left.set_xlabel("evaluations (NFE + vector-Jacobian products)")
    left.set_title("ends labelled by rtol or by steps per interval")
    right.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))  # times often span less than a decade
    right.xaxis.set_major_formatter("{x:g}")
    right.xaxis.set_minor_formatter(NullFormatter())
    right.set_xlabel("loss and gradient (ms)")
    right.set_title("against time")
    figure.suptitle(f"{results.problem}: gradient error against the continuous problem's gradient", fontsize=10)
    legend_below(figure, left, columns=3)
    return figure
