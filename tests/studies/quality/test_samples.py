"""Figures of densities, and of losses that may be negative, from hand-made records."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import matplotlib.colors as mcolors
import numpy as np
import pytest
from matplotlib.figure import Figure

from pynode.records.iteration import IterationRecord
from pynode.records.runs import Run
from pynode.studies.quality.samples import draw_density, draw_marginals, draw_trajectories
from pynode.studies.quality.study import draw_loss
from pynode.studies.reduction.study import draw_reduction
from pynode.studies.results import Results
from pynode.studies.style import looks, save

pytestmark = pytest.mark.usefixtures("drawn_figures")

GRID = [-5.0, 5.0]


def series(dim: int = 2) -> dict[str, Any]:
    """What a density's evaluation holds; its density has all its mass at x_1 = 3, x_2 = -2 or thereabouts."""
    generator = np.random.default_rng(0)
    contents: dict[str, Any] = {
        name: generator.standard_normal((40, dim)).tolist() for name in ("data", "pushed", "generated")
    }
    if dim == 2:
        p = np.zeros((20, 20))
        p[16, 6] = 0.5
        contents |= {"density": p.tolist(), "grid": GRID, "trajectories": generator.standard_normal((5, 9, 2)).tolist()}
    return contents


def run(
    method: str = "disc-opt",
    losses: Sequence[float | None] = (900.0, None, 3.0, 1.0, -0.5, -1.0, -1.5, -1.6, -1.7, -1.8, -1.9, -2.0),
    *,
    dim: int | None = 2,
    seed: int = 0,
) -> Run:
    """A finished run, of a density unless `dim` is None."""
    zeros: dict[str, Any] = dict.fromkeys(("n_vjp_forward", "n_vjp_backward", "n_accepted", "n_rejected"), 0)
    zeros |= {"n_accepted_backward": 0, "n_rejected_backward": 0}
    records = [
        IterationRecord(
            iteration=i,
            loss=value,
            best_loss=value,
            validation_loss=value,
            gradient_norm=1.0,
            seconds_forward=0.5,
            seconds_backward=0.25,
            seconds_optimiser=0.25,
            nfe_forward=40,
            nfe_backward=2,
            peak_memory_bytes=None,
            **zeros,
        )
        for i, value in enumerate(losses)
    ]
    config = {
        "problem": "toy",
        "method": {"method": method},
        "seed": seed,
        "faithful": False,
        "iterations": len(losses),
    }
    best = min(v for v in losses if v is not None)
    known = {"status": "finished", "iterations": len(losses), "best_validation_loss": best}
    if dim is not None:
        known["test_nll"] = best
    evaluation = None if dim is None else {"metrics": {}, "series": series(dim)}
    return Run(config, known, records, evaluation, f"{method}-seed{seed}")


def results(*runs: Run) -> Results:
    """Runs as a results directory."""
    return Results(Path("nowhere"), list(runs))


BOTH = results(run("disc-opt"), run("opt-disc"), run("disc-opt", seed=1))


def drawn(figure: Figure | None) -> Figure:
    """A figure that must be there."""
    assert figure is not None
    return figure


@pytest.mark.parametrize("draw", [draw_density, draw_trajectories, draw_marginals])
def test_nothing_is_drawn_where_the_series_are_missing(draw: Any) -> None:
    assert draw(results()) is None
    assert draw(results(run(dim=None))) is None
    assert draw(results(replace(run(), evaluation={"metrics": {}, "series": {"data": [[0.0, 0.0]]}}))) is None
    sweep = [replace(run(), label=f"disc-opt-x{n}-seed0") for n in (1, 2)]
    assert draw(results(*sweep)) is None


def test_only_two_dimensions_have_a_density_only_more_have_marginals() -> None:
    table = results(run(dim=6))
    assert draw_density(table) is None
    assert draw_trajectories(table) is None
    assert draw_marginals(table) is not None
    assert draw_marginals(BOTH) is None


def test_a_density_has_a_row_of_four_panels_a_method() -> None:
    figure = drawn(draw_density(BOTH))
    assert len(figure.axes) == 8
    titles = [axes.get_title() for axes in figure.axes]
    assert titles[:4] == ["data", "model density", "data pushed forward", "generated samples"]
    assert [figure.axes[k].get_ylabel().split("\n")[0] for k in (0, 4)] == ["disc-opt", "opt-disc"]
    data, model, pushed, generated = figure.axes[4:]
    evaluated = series()
    for axes, name in ((data, "data"), (pushed, "pushed"), (generated, "generated")):
        np.testing.assert_array_equal(axes.lines[0].get_xydata(), evaluated[name])
    assert mcolors.same_color(generated.lines[0].get_color(), looks(["opt-disc"])["opt-disc"].color)
    assert [patch.get_radius() for patch in pushed.patches] == [1, 2, 3]  # type: ignore[attr-defined]
    assert not [*data.patches, *model.patches, *generated.patches]
    assert tuple(model.get_xlim()) == tuple(model.get_ylim()) == tuple(GRID)


def test_a_density_lies_where_its_samples_would() -> None:
    """Rows of an image are the second coordinate, upwards: a transposed or mirrored one would hide nowhere else."""
    image = drawn(draw_density(BOTH)).axes[1].images[0]
    array = np.asarray(image.get_array())
    row, column = np.unravel_index(array.argmax(), array.shape)
    left, right, bottom, top = image.get_extent()
    assert image.origin == "lower"
    assert left + (right - left) * (column + 0.5) / 20 == pytest.approx(3.25)
    assert bottom + (top - bottom) * (row + 0.5) / 20 == pytest.approx(-1.75)


def test_trajectories_begin_in_the_base_and_end_at_data() -> None:
    figure = drawn(draw_trajectories(BOTH))
    assert [axes.get_title() for axes in figure.axes] == ["disc-opt", "opt-disc"]
    paths = np.array(series()["trajectories"])
    lines = figure.axes[0].lines
    assert len(lines) == 9 + 2
    np.testing.assert_array_equal(np.asarray(lines[4].get_xydata()), paths[:, 4])
    starts, ends = lines[9:]
    np.testing.assert_array_equal(np.asarray(starts.get_xydata()), paths[0])
    np.testing.assert_array_equal(np.asarray(ends.get_xydata()), paths[-1])
    assert starts.get_markerfacecolor() == "white"


def test_marginals_show_pairs_of_columns_of_data_and_of_each_model() -> None:
    figure = drawn(draw_marginals(results(run("disc-opt", dim=8), run("opt-disc", dim=8))))
    assert len(figure.axes) == 3 * 3
    evaluated = series(8)
    for row, name in enumerate(("data", "generated", "generated")):
        for j in range(3):
            axes = figure.axes[3 * row + j]
            expected = np.array(evaluated[name])[:, 2 * j : 2 * j + 2]
            np.testing.assert_array_equal(np.asarray(axes.lines[0].get_xydata()), expected)
            assert axes.get_xlim() == figure.axes[j].get_xlim()
    assert len({mcolors.to_hex(axes.lines[0].get_color()) for axes in figure.axes}) == 3
    assert len(drawn(draw_marginals(results(run(dim=6)))).axes) == 6
    assert len(drawn(draw_marginals(results(run(dim=3)))).axes) == 4, "each column at least once"


def test_marginals_of_a_users_table_have_its_names_and_units() -> None:
    """Of two columns as well, which have no density on a grid; a name is no formula, and is not longer than a panel."""
    evaluated = {name: series(2)[name] for name in ("data", "pushed", "generated")}
    evaluated |= {"columns": ["price in $ or $", "4"], "shift": [100.0, -3.0], "scale": [10.0, 0.5]}
    figure = drawn(draw_marginals(results(replace(run(), evaluation={"metrics": {}, "series": evaluated}))))
    data, generated = figure.axes
    assert generated.get_xlabel() == r"price in \$ or \$"
    assert generated.get_ylabel() == "disc-opt\ncolumn 4"
    for axes, name in ((data, "data"), (generated, "generated")):
        expected = np.array(evaluated[name]) * [10.0, 0.5] + [100.0, -3.0]
        np.testing.assert_allclose(np.asarray(axes.lines[0].get_xydata()), expected)


def test_a_value_that_was_not_finite_is_left_out_of_the_picture() -> None:
    evaluated = series()
    evaluated["density"][3][4] = None
    evaluated["generated"][0] = [None, None]
    figure = drawn(draw_density(results(replace(run(), evaluation={"metrics": {}, "series": evaluated}))))
    assert figure.axes[1].images[0].get_clim() == (0.0, 0.5)


def test_likelihoods_are_on_a_linear_axis_without_their_first_huge_values() -> None:
    figure = drawn(draw_loss(BOTH))
    iteration, seconds, nfe = figure.axes
    assert iteration.get_ylabel() == "validation NLL (nats)"
    for axes in figure.axes:
        assert axes.get_yscale() == "linear"
        low, high = axes.get_ylim()
        assert low < -2.0
        assert 1.0 < high < 20.0
    at = [i for i, record in enumerate(BOTH.runs[0].records) if record.validation_loss is not None]
    assert np.asarray(iteration.lines[1].get_xdata()).tolist() == at
    assert np.asarray(seconds.lines[1].get_xdata()).tolist() == [i + 1.0 for i in at]
    assert np.asarray(nfe.lines[1].get_xdata()).tolist() == [42 * (i + 1) for i in at]


def test_an_unfinished_density_is_known_by_a_loss_below_zero() -> None:
    running = replace(run(), summary=None, evaluation=None)
    assert {axes.get_yscale() for axes in drawn(draw_loss(results(running))).axes} == {"linear"}


def test_sums_of_squares_stay_on_a_logarithmic_axis() -> None:
    figure = drawn(draw_loss(results(run(losses=[8.0, 1.0, 0.1], dim=None))))
    assert {axes.get_yscale() for axes in figure.axes} == {"log"}
    assert figure.axes[0].get_ylabel() == "validation loss"
    assert [axes.get_xscale() for axes in figure.axes] == ["linear", "log", "log"]


@pytest.mark.parametrize("losses", [[5.0], [3.0, 3.0], [-1.0, -1.0]])
def test_short_and_constant_likelihoods_are_drawn(losses: list[float]) -> None:
    both = results(run("disc-opt", losses), run("opt-disc", losses))
    assert draw_loss(both) is not None
    assert draw_reduction(both, losses[0]) is not None


def test_the_cost_of_negative_losses_is_drawn_on_linear_axes() -> None:
    figure = drawn(draw_reduction(BOTH, -2.0))
    for axes in figure.axes:
        assert axes.get_xscale() == axes.get_yscale() == "linear"
        assert axes.get_xlim()[0] > axes.get_xlim()[1], "better to the right"
        assert axes.get_xlim()[0] < 20.0
        for line in axes.lines[:3]:
            assert len(np.asarray(line.get_xdata())) > 50
            assert np.asarray(line.get_xdata())[-1] == -2.0
    # the last loss is that of the last iteration, reached after eleven of one second
    assert np.asarray(figure.axes[0].lines[0].get_ydata())[-1] == pytest.approx(11.0)
    squares = results(*(run(m, [8.0, 4.0, 1.0, 0.1], dim=None) for m in ("disc-opt", "opt-disc")))
    assert {axes.get_xscale() for axes in drawn(draw_reduction(squares, 0.1)).axes} == {"log"}


def test_equal_records_give_equal_files(tmp_path: Path) -> None:
    table = results(run(dim=6))
    contents = []
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        paths: list[Path] = []
        for draw, shown in ((draw_density, BOTH), (draw_trajectories, BOTH), (draw_marginals, table)):
            paths += save(drawn(draw(shown)), tmp_path / name, draw.__module__.rpartition(".")[2])
        contents.append([path.read_bytes() for path in paths])
    assert contents[0] == contents[1]
    assert all(len(content) > 5_000 for content in contents[0])
