"""The figures of the map: a colour and a number in each cell, words where there is none; lines that stay legible."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
from matplotlib.colors import to_rgb
from matplotlib.patches import Rectangle

from pynode.studies.results import Results
from pynode.studies.winners.record import StabilityRecord, WinnerRecord
from pynode.studies.winners.study import CUT, draw_map, draw_stability


def record(axis: str, method: str, error: float, evaluations: int, seconds: float) -> WinnerRecord:
    """One gradient in the cell of `axis` at 2."""
    adaptive = method == "opt-disc"
    return WinnerRecord(
        axis, 2.0, "oscillator", 0, method, method, adaptive, 1.0, 1e-9, error, evaluations, 0, 0, seconds, None
    )


MAP = [
    record("horizon", "disc-opt", 5e-3, 100, 0.4),
    record("horizon", "opt-disc", 5e-2, 400, 0.1),
    record("dimension", "opt-disc", 5e-3, 100, 0.1),
]
"""At 1e-1 Disc-Opt needs a quarter of the evaluations and four times as long; in the second cell there is none."""


def cell_colours(drawn: Results, panel: int) -> list[tuple[float, ...]]:
    figure = draw_map(drawn)
    assert figure is not None
    return [to_rgb(p.get_facecolor()) for p in figure.axes[panel].patches if isinstance(p, Rectangle)]


def test_cells_say_who_wins(tmp_path: Path) -> None:
    figure = draw_map(Results(tmp_path, winners=MAP))
    assert figure is not None
    evaluations, seconds = figure.axes[:2]
    assert [t.get_text() for t in evaluations.texts] == [
        *("4", "no opt-disc", "neither", "neither"),
        *("no disc-opt", "no disc-opt", "neither", "neither"),
    ]
    assert seconds.texts[0].get_text() == "0.25"
    assert [t.get_text() for t in evaluations.get_yticklabels()] == ["oscillator, horizon 2", "oscillator, dimension 2"]


def test_blue_is_disc_opt_and_red_is_opt_disc(tmp_path: Path) -> None:
    """The same cell, won by the one in evaluations and by the other in time; grey and hatched where nobody can tell."""
    results = Results(tmp_path, winners=MAP)
    (red, _, blue), (red_too, _, blue_too) = cell_colours(results, 0)[0], cell_colours(results, 1)[0]
    assert blue > red + 0.2
    assert red_too > blue_too + 0.2
    figure = draw_map(results)
    assert figure is not None
    hatches = [p.get_hatch() for p in figure.axes[0].patches if isinstance(p, Rectangle)]
    assert hatches == [None, *["//"] * 7]


def test_seeds_show_their_range_and_their_dissent(tmp_path: Path) -> None:
    """The median over its range; a dotted frame where seeds disagree, words where one of them has no ratio."""
    several = [replace(r, seed=seed) for seed in range(3) for r in MAP[:2]]
    several[1] = replace(several[1], evaluations=50)
    figure = draw_map(Results(tmp_path, winners=several))
    assert figure is not None
    evaluations, seconds = figure.axes[:2]
    assert [t.get_text() for t in evaluations.texts][:3] == ["4", "0.5 – 4", "no opt-disc"]
    framed = [[p for p in a.patches if p.get_linestyle() == ":"] for a in (evaluations, seconds)]
    assert [len(frames) for frames in framed] == [1, 0]
    partly = draw_map(Results(tmp_path, winners=several[:-1]))
    assert partly is not None
    assert partly.axes[0].texts[0].get_text() == "no opt-disc\n(1 of 3)"


def solve(name: str, horizon: float, seed: int, error: float | None, failure: str | None = None) -> StabilityRecord:
    return StabilityRecord("stability", name, horizon, seed, 1e-5, error, error, 10, 20, failure)


def test_stability_draws_a_line_for_each_field(tmp_path: Path) -> None:
    """Medians over seeds; a horizon at which a seed failed has no point."""
    solves = [solve("mlp", 1.0, seed, error) for seed, error in enumerate((1e-4, 1e-3, 1e-2))]
    solves += [solve("mlp", 10.0, 0, 1e-2), solve("mlp", 10.0, 1, None, "it blew up"), solve("mlp", 10.0, 2, 1e-2)]
    solves += [solve("hamiltonian", h, 0, 1e-5) for h in (1.0, 10.0)]
    figure = draw_stability(Results(tmp_path, stability=solves))
    assert figure is not None
    for panel, value in zip(figure.axes, (1e-3, 1e-3, 2.0), strict=True):
        mlp, hamiltonian = panel.get_lines()
        np.testing.assert_allclose(np.asarray(mlp.get_xydata()), [[1.0, value]])
        np.testing.assert_allclose(np.asarray(hamiltonian.get_xdata()), [1.0, 10.0])
    assert draw_stability(Results(tmp_path)) is None


def test_every_field_has_a_line_of_its_own(tmp_path: Path) -> None:
    """As many fields as a map measures, no two of them drawn alike."""
    names = [f"field {k}" for k in range(6)]
    figure = draw_stability(Results(tmp_path, stability=[solve(name, 1.0, 0, 1e-5) for name in names]))
    assert figure is not None
    lines = figure.axes[0].get_lines()
    assert [line.get_label() for line in lines] == names
    assert len({(line.get_color(), line.get_marker()) for line in lines}) == len(names)


def test_a_huge_error_does_not_flatten_the_rest(tmp_path: Path) -> None:
    solves = [solve("mlp", 1.0, 0, 1e-5), solve("mlp", 10.0, 0, 1e70)]
    figure = draw_stability(Results(tmp_path, stability=solves))
    assert figure is not None
    low, high = figure.axes[0].get_ylim()
    assert low < 1e-5
    assert high <= CUT


def test_a_map_says_where_cells_have_fewer_seeds(tmp_path: Path) -> None:
    more = [replace(r, seed=1) for r in MAP]
    for records, said in ((MAP + more, "median over 2 seeds"), (MAP + more[:2], "median over up to 2 seeds")):
        figure = draw_map(Results(tmp_path, winners=records))
        assert figure is not None
        assert said in figure.get_suptitle()
