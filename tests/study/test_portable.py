"""Published records tell no folder of the machine: what is relative to what, and what stays as it is."""

from __future__ import annotations

from pathlib import Path

from experiments.study.portable import folders_of, portable


def made_by(program: str) -> list[dict[str, list[str]]]:
    """The environment of one command."""
    return [{"command": [program, "compare", "spiral"]}, {}]


def test_paths_are_those_from_the_checkout() -> None:
    folders = folders_of(Path("/data/me/pynode/results/study"), made_by("/data/me/pynode/experiments/run.py"))
    record = {
        "command": ["/data/me/pynode/experiments/run.py", "evaluate", "/data/me/pynode/results/study/spiral", "a/b"],
        "file": "/data/me/pynode/experiments/study/problems.py:Higgs",
        "checkout": "/data/me/pynode",
        "other": "/data/me/pynode2/x.npy",
        "rows": [3, 0.5, None, True],
        "note": "/data/me/pynode/results/x is damaged; see /data/me/pynode/results.",
    }
    assert portable(record, folders) == {
        "command": ["experiments/run.py", "evaluate", "results/study/spiral", "a/b"],
        "file": "experiments/study/problems.py:Higgs",
        "checkout": ".",
        "other": "x.npy",
        "rows": [3, 0.5, None, True],
        "note": "results/x is damaged; see results.",
    }


def test_results_elsewhere_keep_their_name_and_home_is_told_as_such() -> None:
    home = Path.home()
    folders = folders_of(Path("/scratch/study"), made_by(str(home / "pynode" / "experiments" / "run.py")))
    words = ["/scratch/study/power", str(home / "rows" / "higgs.npy"), str(home / "pynode" / "plan.toml"), "/"]
    assert portable(words, folders) == ["study/power", "~/rows/higgs.npy", "plan.toml", "/"]


def test_what_was_relative_stays() -> None:
    folders = folders_of(Path("results/study"), made_by("experiments/run.py"))
    words = ["experiments/run.py", "--out", "results/study/x", "a / b", "T / 4"]
    assert portable(words, folders) == words


def test_a_message_keeps_its_words_and_of_paths_elsewhere_the_names() -> None:
    folders = folders_of(Path("/data/me/pynode/results/study"), made_by("/data/me/pynode/experiments/run.py"))
    messages = {
        "/x/a is bad; see /y/b": "a is bad; see b",
        "can't read '/x/y/rows.npy': no file; see /data/me/pynode/results/z, line 3.": (
            "can't read 'rows.npy': no file; see results/z, line 3."
        ),
        "--set file=/x/rows.csv (/x/y/).": "--set file=rows.csv (y).",
        "see https://example.org/a/b, {out}/../power/runs/x, f/back/vjp at 3 /s": (
            "see https://example.org/a/b, {out}/../power/runs/x, f/back/vjp at 3 /s"
        ),
        "/x/models.py:Field": "models.py:Field",
    }
    assert {message: portable(message, folders) for message in messages} == messages
