"""The plan of the study: what is read from its file, and what is refused."""

from __future__ import annotations

from pathlib import Path

import pytest

from experiments.study.plan import Part, chosen, read_plan
from pynode.errors import UnknownName, UsageError
from pynode.problems import PROBLEMS


def written(folder: Path, text: str) -> Path:
    """A plan in a file."""
    path = folder / "plan.toml"
    path.write_text(text, encoding="utf-8")
    return path


def test_the_plan_of_the_study_covers_its_seven_problems() -> None:
    """Each of them, or the problem that stands in for it, is compared by both methods."""
    compared = {
        command[1].rpartition(":")[2] for part in read_plan() for command in part.commands if command[0] == "compare"
    }
    assert {"spiral", "8gaussians", "power", "SyntheticGas", "Higgs", "miniboone", "bsds300"} <= compared


def test_every_comparison_of_the_plan_names_a_problem_and_writes_to_its_own_folder() -> None:
    for part in read_plan():
        for command in part.commands:
            if command[0] == "compare":
                assert PROBLEMS.load(command[1]).training.iterations > 0
                assert command[command.index("--out") + 1] == "{out}", part.name
                assert "--engine" in command, f"{part.name} leaves the engine open"


def test_paths_are_filled_in(tmp_path: Path) -> None:
    path = written(tmp_path, "[a]\ncommands = [\"compare npy --data '{data}/my rows.npy' --out {out}/../b\"]\n")
    (part,) = read_plan(path)
    assert part == Part("a", (("compare", "npy", "--data", "{data}/my rows.npy", "--out", "{out}/../b"),))
    assert part.words(Path("/o/a"), Path("/d")) == [
        ["compare", "npy", "--data", "/d/my rows.npy", "--out", "/o/b"],
    ]
    with pytest.raises(UsageError, match="the part a reads a file of data; add --data DIR"):
        part.words(Path("/o/a"), None)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "has no part"),
        ("a = 1\n", "a is no table of commands"),
        ("[a]\ncommands = []\n", "a.commands is no list of command lines"),
        ("[a]\ncommands = [1]\n", "a.commands is no list of command lines"),
        ("[a]\ncommands = ['x']\nwhy = 'y'\n", "a is no table of commands and note alone"),
        ("[a\n", "no valid TOML"),
        (
            "[a]\ncommands = ['list', \"compare 'spiral\"]\n",
            r"plan\.toml: a\.commands has \"compare 'spiral\", which is no command line \(no closing quotation\)",
        ),
        (
            "[a]\ncommands = ['list \\']\n",
            r"a\.commands has 'list .*', .* \(no escaped character\); .* a backslash twice",
        ),
    ],
)
def test_what_is_no_plan_is_refused(tmp_path: Path, text: str, said: str) -> None:
    with pytest.raises(UsageError, match=said):
        read_plan(written(tmp_path, text))


@pytest.mark.parametrize("name", ["../x", "/x", "a/b", "a\\\\b", ".", "..", "", ".a", "a b", "ä", "a\\n"])
def test_parts_are_named_like_folders(tmp_path: Path, name: str) -> None:
    """So that none of them lies outside of --out, or is all of it."""
    with pytest.raises(UsageError, match=r"plan\.toml: the name '.*' of a part is no simple folder name; use letters"):
        read_plan(written(tmp_path, f'["{name}"]\ncommands = ["list"]\n'))


@pytest.mark.parametrize("name", ["logs", "Logs", "figures", "tables.md", "begun.json"])
def test_parts_are_not_named_like_what_lies_beside_them(tmp_path: Path, name: str) -> None:
    with pytest.raises(
        UsageError, match=rf"plan\.toml: the name '{name}' of a part is taken: logs, .*; give it another"
    ):
        read_plan(written(tmp_path, f'["{name}"]\ncommands = ["list"]\n'))


@pytest.mark.parametrize("name", ["a", "8gaussians", "a-b_c", "v1.2", "-a", "logs-2"])
def test_simple_names_are_taken(tmp_path: Path, name: str) -> None:
    (part,) = read_plan(written(tmp_path, f'["{name}"]\ncommands = ["list"]\n'))
    assert part.name == name


def test_parts_are_chosen_by_name() -> None:
    parts = [Part("a", (("list",),)), Part("b", (("list",),))]
    assert chosen(parts, None) == parts
    assert chosen(parts, ["b"]) == parts[1:]
    with pytest.raises(UnknownName, match="part of the study"):
        chosen(parts, ["c"])
