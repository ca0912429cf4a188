"""What `study publish` replaces and what it refuses to, and that an interruption leaves a whole part."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from experiments.study import publish
from experiments.study.command import study
from experiments.study.page.published import PUBLISHED, STUDY
from experiments.study.plan import Part
from experiments.study.progress import Done, note_done
from experiments.study.publish import publish_parts, unfinished_parts
from experiments.study.replaceable import foreign_file
from pynode.errors import RunFailure, UsageError
from pynode.records.files import write_json
from pynode.studies import STUDIES
from pynode.studies.results import LINES, Results

RUN = "disc-opt-rk4-x1-seed0"
END = ("png", "pdf")


@pytest.fixture(autouse=True)
def small_plan(monkeypatch: pytest.MonkeyPatch) -> None:
    """Two parts, the second without runs."""
    parts = [Part("spiral", (("compare",),)), Part("map", (("map",),))]
    monkeypatch.setattr(publish, "read_plan", lambda *_: parts)


def part(folder: Path, command: str, *, at: str = "a") -> Path:
    """A part that is done, of one command."""
    note_done(folder, [Done([command], 1.0, 0.5, at * 40)])
    return folder


@pytest.fixture
def out(tmp_path: Path) -> Path:
    """Results of both parts; the first has one run."""
    results = tmp_path / "results" / "study"
    run = part(results / "spiral", "compare") / "runs" / RUN
    run.mkdir(parents=True)
    for name in ("records.jsonl", "checkpoint.safetensors"):
        (run / name).write_text("{}\n", encoding="utf-8")
    write_json(run / "config.json", {"seed": 0})
    part(results / "map", "map")
    return results


def content(folder: Path) -> dict[str, bytes]:
    """All files below a folder."""
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.mark.parametrize("to", ["study", "study/spiral", "study/map/figures", "study/../study", "link"])
def test_results_are_never_replaced_by_their_own_copies(to: str, out: Path, tmp_path: Path) -> None:
    """Neither all of them nor those of one part, whatever leads there."""
    (tmp_path / "results" / "link").symlink_to(out)
    before = content(out)
    with pytest.raises(UsageError, match=r"--to = .*: .* would replace results of --out, or lie in them; give another"):
        list(publish_parts(out, tmp_path / "results" / to))
    assert content(out) == before


def test_a_part_that_holds_all_results_is_not_replaced(
    out: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(publish, "read_plan", lambda *_: [Part("study", (("list",),))])
    part(out / "study", "list")
    part(out, "list")
    with pytest.raises(UsageError, match="would replace results of --out"):
        list(publish_parts(out, tmp_path / "results"))
    assert (out / "spiral" / "runs" / RUN / "checkpoint.safetensors").exists()


def results_of_compare(folder: Path) -> None:
    """What `compare` leaves, which is no part of a study."""
    write_json(folder / "config.json", {})


def part_that_was_trained(folder: Path) -> None:
    """A part with checkpoints."""
    part(folder, "compare")
    (folder / "runs" / RUN / "checkpoint.safetensors").touch()


def part_beside_logs(folder: Path) -> None:
    """A part that says nothing of where it was made, in the results of a study."""
    part(folder, "map")
    (folder.parent / "logs").mkdir()


def link(folder: Path) -> None:
    """A link to a published part elsewhere."""
    folder.rename(folder.with_name("elsewhere"))
    folder.symlink_to(folder.with_name("elsewhere"))
    part(folder, "compare")


@pytest.mark.parametrize("make", [results_of_compare, part_that_was_trained, part_beside_logs, link])
def test_other_results_are_not_replaced(make: Callable[[Path], None], out: Path, tmp_path: Path) -> None:
    """Nor is any other part published then."""
    to = tmp_path / "other"
    (to / "spiral" / "runs" / RUN).mkdir(parents=True)
    make(to / "spiral")
    before = content(to)
    with pytest.raises(UsageError, match=r"--to = .*other: .*; give another --to"):
        list(publish_parts(out, to))
    assert content(to) == before
    assert not (to / "map").exists()


@pytest.mark.parametrize(
    "name",
    [
        "notes.md",
        "mine/data.csv",
        "mine.json",
        "figures/mine.png",
        "figures/cost.csv",
        f"runs/{RUN}/notes.md",
        f"runs/{RUN}/mine/config.json",
        f"runs/{RUN}/records.jsonl",
        f"runs/{RUN}/checkpoint.safetensors",
        "runs/config.json",
        ".hidden",
    ],
)
def test_files_of_the_user_in_a_published_part_are_kept(name: str, out: Path, tmp_path: Path) -> None:
    """Neither this part nor another one is replaced then, and the error names the file."""
    to = tmp_path / "published"
    list(publish_parts(out, to))
    mine = to / "spiral" / name
    mine.parent.mkdir(parents=True, exist_ok=True)
    mine.write_text("mine", encoding="utf-8")
    part(out / "map", "map", at="b")
    before = content(to)
    with pytest.raises(
        UsageError, match=rf"--to = .*: .*spiral holds {name}, which .* would be lost; give another --to"
    ):
        list(publish_parts(out, to))
    assert content(to) == before


def test_links_in_a_published_part_are_kept(out: Path, tmp_path: Path) -> None:
    """Whatever they are called."""
    to = tmp_path / "published"
    list(publish_parts(out, to))
    (tmp_path / "elsewhere").mkdir()
    (to / "spiral" / "figures").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(UsageError, match="spiral holds figures, which this command does not write"):
        list(publish_parts(out, to))
    assert (to / "spiral" / "figures").is_symlink()


def test_all_that_is_published_can_be_replaced() -> None:
    """Without knowing what would be written instead."""
    folders = [path for path in (PUBLISHED / STUDY).iterdir() if (path / "study.json").exists()]
    assert folders
    assert {path.name: foreign for path in folders if (foreign := foreign_file(path)) is not None} == {}


def test_all_that_studies_record_and_draw_can_be_replaced(tmp_path: Path) -> None:
    """`show` leaves a PDF of each figure."""
    figures = {name for study in STUDIES.names() for name in STUDIES.load(study)().figures(Results(tmp_path))}
    (tmp_path / "figures").mkdir()
    for name in [*(file for file, _ in LINES.values()), *(f"figures/{n}.{end}" for n in figures for end in END)]:
        (tmp_path / name).touch()
    assert foreign_file(tmp_path) is None


def test_what_would_be_written_again_can_be_replaced(out: Path, tmp_path: Path) -> None:
    """Whatever its name is."""
    to = tmp_path / "published"
    (out / "spiral" / "figures").mkdir()
    for name in ("other.jsonl", "figures/other.png"):
        (out / "spiral" / name).touch()
    for _ in range(2):
        assert [name for name, _ in publish_parts(out, to)] == ["spiral", "map"]
        (to / "spiral" / "figures" / "other.pdf").touch()


def test_what_was_published_is_replaced_whole(out: Path, tmp_path: Path) -> None:
    """An empty folder may be there as well."""
    to = tmp_path / "published"
    (to / "spiral").mkdir(parents=True)
    for at, file in (("a", "taylor.jsonl"), ("b", "winners.jsonl")):
        part(out / "spiral", "compare", at=at)
        (out / "spiral" / file).write_text("", encoding="utf-8")
        assert [name for name, _ in publish_parts(out, to)] == ["spiral", "map"]
        assert {path.name for path in to.iterdir()} == {"spiral", "map"}
        there = {"study.json", file, f"runs/{RUN}/config.json", f"runs/{RUN}/records.jsonl.gz"}
        assert set(content(to / "spiral")) == there
        (out / "spiral" / file).unlink()
    assert content(to / "spiral")["study.json"] == content(out / "spiral")["study.json"]


@pytest.mark.parametrize("step", ["_pack", "rename"])
def test_an_interruption_leaves_the_old_part(
    step: str, out: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """While files are copied, and between the two renames."""
    to = tmp_path / "published"
    list(publish_parts(out, to))
    before = content(to)
    part(out / "spiral", "compare", at="b")
    rename = Path.rename

    def interrupt(path: Path, target: Path) -> Any:
        if step == "rename" and not path.name.endswith(".new"):
            return rename(path, target)
        raise KeyboardInterrupt

    monkeypatch.setattr(publish if step == "_pack" else Path, step, interrupt)
    with pytest.raises(KeyboardInterrupt):
        list(publish_parts(out, to))
    assert content(to) == before


def test_a_killed_publication_is_made_up_for(out: Path, tmp_path: Path) -> None:
    """The old part lies under another name, the new one beside it; what says that it is done is copied last."""
    to = tmp_path / "published"
    list(publish_parts(out, to))
    (to / "map").rename(to / ".map.old")
    (to / ".map.new").mkdir()
    assert dict(publish_parts(out, to, None)).keys() == {"spiral", "map"}
    assert {path.name for path in to.iterdir()} == {"spiral", "map"}


def test_what_says_that_a_part_is_done_is_copied_last(
    out: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    copied: list[str] = []
    copy = publish._copy

    def noted(path: Path, *others: Any) -> None:
        copied.append(path.name)
        copy(path, *others)

    monkeypatch.setattr(publish, "_copy", noted)
    write_json(out / "spiral" / "summary.json", {})
    list(publish_parts(out, tmp_path / "published", ["spiral"]))
    assert copied == ["summary.json", "config.json", "study.json"]


@pytest.mark.parametrize("names", [None, ["map"]])
def test_where_no_part_is_done_nothing_is_published(names: list[str] | None, out: Path, tmp_path: Path) -> None:
    for folder in ("spiral", "map"):
        note_done(out / folder, [])
    told = "map" if names else "spiral, map"
    with pytest.raises(
        UsageError, match=rf"--out = .*study: none of the parts {told} is done there; run the study first"
    ):
        list(publish_parts(out, tmp_path / "published", names))
    with pytest.raises(UsageError, match=r"--out = .*absent: there is no such folder; .* or give another --out"):
        list(publish_parts(tmp_path / "absent", tmp_path / "published", names))
    assert not (tmp_path / "published").exists()


def test_named_parts_that_are_not_done_are_told(out: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """All of them, before another one is published; without names they are left out."""
    parts = [Part("spiral", (("compare",),)), Part("map", (("map",), ("show", "x"))), Part("power", (("compare",),))]
    monkeypatch.setattr(publish, "read_plan", lambda *_: parts)
    said = r"--parts spiral,map,power: not done: map \(show x\), power \(compare\); run the study first, or leave them"
    with pytest.raises(UsageError, match=said):
        list(publish_parts(out, tmp_path / "published", ["spiral", "map", "power"]))
    assert not (tmp_path / "published").exists()
    assert [name for name, _ in publish_parts(out, tmp_path / "published")] == ["spiral"]
    assert unfinished_parts(out) == ["map", "power"]


def test_another_plan_is_run_checked_and_published(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """All three commands take `--plan`."""
    monkeypatch.undo()
    plan = tmp_path / "plan.toml"
    plan.write_text('[mine]\ncommands = ["list"]\n[yours]\ncommands = ["list"]\n', encoding="utf-8")
    folder = part(tmp_path / "results" / "mine", "list")
    options = ["--out", str(folder.parent), "--plan", str(plan)]
    checked = CliRunner().invoke(study, ["check", *options])
    assert checked.exit_code == 0
    assert "not there: yours" in checked.output
    assert CliRunner().invoke(study, ["run", *options, "--dry-run"]).exit_code == 0
    published = tmp_path / "published"
    said = CliRunner().invoke(study, ["publish", *options, "--to", str(published)])
    assert said.exit_code == 0
    assert "left out, because they are not done: yours" in said.output
    assert [path.name for path in published.iterdir()] == ["mine"]
    write_json(published / "mine" / "study.json", {"commands": []})
    wrong = CliRunner().invoke(study, ["check", "--out", str(published), "--plan", str(plan)])
    assert isinstance(wrong.exception, RunFailure)
    assert "mine: not done: list" in wrong.output
