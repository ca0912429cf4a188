"""`report`: the page of a results directory from the command line, and the page that other commands leave."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from pynode.cli import main
from tests.cli.conftest import call

RECORDED = Path(__file__).parents[1] / "compatibility" / "runs"
QUICK = ["--methods", "disc-opt", "--iterations", "3", "--no-checks"]


@pytest.fixture
def spiral(tmp_path: Path) -> Path:
    return Path(shutil.copytree(RECORDED / "spiral", tmp_path / "spiral"))


def test_it_writes_a_page_and_says_where(spiral: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before = set(spiral.rglob("*"))
    assert call("report", spiral) == 0
    printed = capsys.readouterr().out
    assert f"page with all of it: {spiral / 'report.html'}" in printed
    assert "best validation loss" in printed
    assert set(spiral.rglob("*")) - before == {spiral / "report.html"}
    page = (spiral / "report.html").read_bytes()
    assert page.startswith(b"<!doctype html>")
    assert call("report", spiral) == 0
    assert (spiral / "report.html").read_bytes() == page


def test_a_page_elsewhere(spiral: Path, tmp_path: Path) -> None:
    assert call("report", spiral, "--out", tmp_path / "mine.html") == 0
    page = (tmp_path / "mine.html").read_bytes()
    assert not (spiral / "report.html").exists()
    (tmp_path / "mine.html").write_text("something else")
    assert call("report", spiral, "--out", tmp_path / "mine.html") == 2
    assert (tmp_path / "mine.html").read_text() == "something else"
    assert call("report", spiral, "--out", tmp_path / "mine.html", "--overwrite") == 0
    assert (tmp_path / "mine.html").read_bytes() == page


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["spiral/tables.md"], "tables.md: a file, not a directory; give"),
        (["nosuch"], "nosuch: no such directory; give the results directory of an earlier command"),
        (["spiral/runs"], "spiral/runs holds no results; pass the --out directory of an earlier command"),
        (["spiral", "--out", "."], "--out = .: a directory; give a file"),
        (["spiral", "--out", "spiral/summary.json"], "does not end in .html"),
        (["spiral", "--out", "nosuch/page.html"], "nosuch is no directory; make it"),
    ],
)
def test_mistakes_get_one_line(
    arguments: list[str],
    said: str,
    spiral: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(spiral.parent)
    assert main(["report", *arguments]) in (1, 2)
    captured = capsys.readouterr()
    assert said in captured.err
    assert captured.err.count("\n") == 1
    assert [path.name for path in spiral.parent.iterdir()] == ["spiral"]


def test_what_is_damaged_is_said_and_the_rest_shown(spiral: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = spiral / "runs" / "disc-opt-rk4-x1-seed0" / "config.json"
    path.write_text("{")
    assert call("report", spiral) == 1
    captured = capsys.readouterr()
    assert f"error: the page leaves out what is damaged: can't read {path}" in captured.err
    text = (spiral / "report.html").read_text()
    assert f"Damaged, and left out: can&#39;t read {path}" in text
    assert "opt-disc-dopri5-rtol1e-07-seed0" in text


def test_a_page_that_can_not_be_written(spiral: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (spiral / "report.html").mkdir()
    assert call("report", spiral) == 1
    captured = capsys.readouterr()
    assert str(spiral / "report.html") in captured.err
    assert captured.err.count("\n") == 1


def test_a_comparison_ends_with_its_page(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "out"
    assert call("compare", "spiral", *QUICK, "--out", out) == 0
    assert f"page with all of it: {out / 'report.html'}" in capsys.readouterr().out
    page = (out / "report.html").read_bytes()
    (out / "report.html").unlink()
    assert call("show", out) == 0
    assert (out / "report.html").read_bytes() == page
    assert call("report", out, "--out", tmp_path / "again.html") == 0
    assert (tmp_path / "again.html").read_bytes() == page


def test_a_suite_ends_with_a_page_of_its_parts(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "out"
    options = ["--problems", "spiral,oscillator", "--methods", "disc-opt,opt-disc", "--iterations", "3"]
    assert call("suite", *options, "--out", out) == 0
    assert f"page with all of it: {out / 'report.html'}" in capsys.readouterr().out
    page = (out / "report.html").read_bytes()
    assert page.count(b'class="part"') == 2
    assert (out / "spiral" / "report.html").exists()
    assert call("report", out) == 0
    assert (out / "report.html").read_bytes() == page, "figures that were drawn before are those drawn from records"
