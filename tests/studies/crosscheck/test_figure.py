"""The matrix of the cross-check: every pair has its largest difference, and what is broken is marked; its tables."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from matplotlib.colors import to_hex
from matplotlib.patches import Rectangle

from pynode.records.files import write_lines
from pynode.studies.crosscheck.record import AGREES, BROKEN, FAILED, UNAVAILABLE, CrosscheckRecord, Verdict
from pynode.studies.crosscheck.study import MARK, Crosscheck, broken_bounds, draw_matrix, largest, repl_line
from pynode.studies.results import CROSSCHECK, Results, load_results
from pynode.studies.style import save

pytestmark = pytest.mark.usefixtures("drawn_figures")


def record(
    case: str, entry: str, differences: list[float | None], verdict: Verdict = AGREES, error: float | None = 1e-6
) -> CrosscheckRecord:
    """A gradient at rtol 1e-5 with a bound of 1e-3."""
    broken = {"reason": "theta gradient off", "files": [f"cases/{case}.json"]} if verdict == BROKEN else {}
    return CrosscheckRecord(
        problem="fields",
        case=case,
        entry=entry,
        method=entry,
        backend="torch",
        group=entry.partition("-")[0],
        adaptive=True,
        setting=1e-5,
        verdict=verdict,
        quantity="theta",
        error=error,
        bound=1e-3,
        differences=differences,
        **broken,  # type: ignore[arg-type]
    )


TWO_CASES = [
    record("mlp", "a-1", [0.0, 1e-6, 1e-1]),
    record("mlp", "a-2", [1e-6, 0.0, 1e-1]),
    record("mlp", "b-1", [1e-1, 1e-1, 0.0], BROKEN, 1e-1),
    record("cnf", "a-1", [0.0, 1e-4, None, 1e-9]),
    record("cnf", "a-2", [1e-4, 0.0, None, 1e-8]),
    record("cnf", "c-1", [None, None, None, None], FAILED, None),
    record("cnf", "b-1", [1e-9, 1e-8, None, 0.0]),
]
ABSENT = CrosscheckRecord(
    "fields", "", "j", "j", "julia", "j", adaptive=True, setting=0.0, verdict=UNAVAILABLE, reason="no Julia"
)


def test_a_cell_has_the_largest_difference_of_all_cases(tmp_path: Path) -> None:
    """Matched by name, not by place; NaN where there is none."""
    nan = np.nan
    expected = [[nan, 1e-4, 1e-1], [1e-4, nan, 1e-1], [1e-1, 1e-1, nan]]
    np.testing.assert_array_equal(largest(TWO_CASES, ["a-1", "a-2", "b-1"]), expected)
    drawn = draw_matrix(Results(tmp_path, crosscheck=[*TWO_CASES, ABSENT]))
    assert drawn is not None
    (image,) = drawn.axes[0].get_images()
    shown = np.ma.filled(np.ma.asarray(image.get_array()).astype(float), nan)
    np.testing.assert_array_equal(shown, expected)
    assert (image.norm.vmin, image.norm.vmax) == (1e-16, 1.0)


def test_what_is_broken_is_marked(tmp_path: Path) -> None:
    """By a cross and red letters on both axes, and a red frame; groups are divided by lines."""
    drawn = draw_matrix(Results(tmp_path, crosscheck=TWO_CASES))
    assert drawn is not None
    axes = drawn.axes[0]
    for labels in (axes.get_xticklabels(), axes.get_yticklabels()):
        assert [label.get_text() for label in labels] == ["a-1", "a-2", "✗ b-1"]
        assert [to_hex(label.get_color()) for label in labels] == ["#000000", "#000000", MARK.lower()]
    (frame,) = [p for p in axes.patches if isinstance(p, Rectangle)]
    assert frame.get_xy() == (-0.5, 1.5)
    assert (frame.get_width(), frame.get_height()) == (3, 1)
    assert len(axes.get_lines()) == 2  # one division, across and down
    assert "2 cases" in " ".join(str(drawn.get_suptitle()).split())
    assert "✗ 1 broke a bound" in str(drawn.get_suptitle())


def test_equal_gradients_can_be_drawn(tmp_path: Path) -> None:
    """A difference of zero has no logarithm."""
    equal = [record("mlp", "a", [0.0, 0.0]), record("mlp", "b", [0.0, 0.0])]
    drawn = draw_matrix(Results(tmp_path, crosscheck=equal))
    assert drawn is not None
    assert len(save(drawn, tmp_path, "crosscheck")) == 2
    assert "no bound is broken" in str(drawn.get_suptitle())


@pytest.mark.parametrize("records", [[], [ABSENT], [record("mlp", "a", [0.0])]])
def test_nothing_to_compare_is_no_figure(records: list[CrosscheckRecord], tmp_path: Path) -> None:
    assert draw_matrix(Results(tmp_path, crosscheck=records)) is None


def test_records_come_back(tmp_path: Path) -> None:
    write_lines(tmp_path / CROSSCHECK, [*TWO_CASES, ABSENT])
    results = load_results(tmp_path)
    assert results.crosscheck == [*TWO_CASES, ABSENT]
    assert results.problem == "fields"


def test_the_tables(tmp_path: Path) -> None:
    """One row a gradient with the worst of its cases, the broken ones with the reason, and everything for the file."""
    summary, broken, everything = Crosscheck().tables(Results(tmp_path, crosscheck=[*TWO_CASES, ABSENT]))
    assert [row[0] for row in summary.rows] == ["a", "a", "b", "c"]
    assert summary.rows[2] == ["b", "rtol 1e-05", "1.0e-01", "1.0e-03", "–", "broken 1, agrees 1"]
    assert summary.rows[3] == ["c", "rtol 1e-05", "–", "1.0e-03", "–", "failed"]
    assert summary.notes[-1] == "j: not available: no Julia"
    assert broken.rows == [["mlp: b-1", "theta gradient off"]]
    assert broken.notes == ["for a Julia REPL: cases/mlp.json"]
    assert len(everything.rows) == 7
    assert everything.long
    assert Crosscheck().tables(Results(tmp_path)) == []


def test_the_finding(tmp_path: Path) -> None:
    finding = Crosscheck().finding(Results(tmp_path, crosscheck=[*TWO_CASES, ABSENT]))
    assert finding == "1 of 7 gradients broke a bound: mlp (b)."
    fine = [r for r in TWO_CASES if r.verdict != BROKEN]
    finding = Crosscheck().finding(Results(tmp_path, crosscheck=fine))
    assert finding == "5 of 6 gradients of 2 cases agree within their bounds; 1 failed."
    assert broken_bounds(fine) is None
    assert Crosscheck().finding(Results(tmp_path, crosscheck=[ABSENT])) is None


def test_the_line_for_the_repl_is_a_julia_string() -> None:
    """Dollar signs and quotes mean something there."""
    line = repl_line(Path("results/my $5"), "cases/mlp.json")
    assert line == 'using PyNODE; case = load_case("results/my \\$5/cases/mlp.json"); compare(case);'
