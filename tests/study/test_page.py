"""The page's blocks and texts: what is replaced, what is refused, and numbers that are known beforehand."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from typer.testing import CliRunner

from experiments.study.command import study
from experiments.study.page import contents, facts, published, quantities, texts
from experiments.study.page.blocks import blocks, rewritten, without_blocks
from experiments.study.page.markdown import WIDTH, table, wrapped
from experiments.study.page.net import rows_of
from experiments.study.page.problem_tables import command_of, commits_of, commits_text
from experiments.study.page.records import records
from experiments.study.progress import Done, note_done
from pynode.errors import RunFailure, UnknownName, UsageError
from pynode.problems.density.public_tables import BSDS300, Hepmass
from pynode.records.files import write_json
from pynode.records.runs import Run
from pynode.studies.gradients.record import STEADY
from tests.readme.pages import NAMES, without_code
from tests.studies.reduction.test_study import run
from tests.study.made_up import disc_opt

PAGE = """# A page

<!-- table plans -->
| old |
<!-- end -->
Between 7.
<!-- text abstract -->
<!-- end -->
"""


def test_blocks_are_replaced_and_the_rest_stays() -> None:
    contents = {"plans": "| new |\n|---|", "abstract": "A sentence."}
    made = rewritten(PAGE, contents)
    assert blocks(made) == contents
    assert without_blocks(made) == without_blocks(PAGE) == "# A page\n\n\nBetween 7.\n\n"
    assert "<!-- table plans -->\n\n| new |\n|---|\n\n<!-- end -->" in made, "empty lines around a table"
    assert rewritten(made, contents) == made
    assert "<!-- table plans -->\n<!-- end -->" in rewritten(made, contents | {"plans": ""})


def test_a_block_that_nothing_makes_is_refused() -> None:
    with pytest.raises(UsageError, match="block abstract: nothing makes it"):
        rewritten(PAGE, {"plans": ""})
    with pytest.raises(UsageError, match="block no-such-block"):
        contents.as_recorded(PAGE.replace("plans", "no-such-block"))
    with pytest.raises(UsageError, match="stands twice"):
        blocks(PAGE.replace("abstract", "plans"))


def test_the_records_fill_a_page() -> None:
    made = contents.as_recorded(PAGE)
    assert contents.differing("", PAGE) == ["plans", "abstract"]
    assert contents.differing("", made) == []
    assert "| GPUs |" in made
    assert "39 to 97 %" in made


@pytest.mark.parametrize(("stale", "write", "status"), [(True, False, 1), (True, True, 0), (False, False, 0)])
def test_the_command_writes_what_differs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, stale: bool, write: bool, status: int
) -> None:
    monkeypatch.setattr(contents, "ROOT", tmp_path)
    monkeypatch.setattr(contents, "PAGES", ("page.md",))
    page, recorded = tmp_path / "page.md", contents.as_recorded(PAGE)
    before = PAGE if stale else recorded
    page.write_text(before, encoding="utf-8")
    done = CliRunner().invoke(study, ["page", *(["--write"] if write else [])])
    assert done.exit_code == status
    assert isinstance(done.exception, RunFailure) is (status == 1)
    assert page.read_text(encoding="utf-8") == (recorded if write else before)


def test_texts_that_records_contradict_stay_and_are_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The other blocks are written all the same, and the command fails."""
    monkeypatch.setattr(contents, "ROOT", tmp_path)
    monkeypatch.setattr(contents, "PAGES", ("page.md",))
    page = tmp_path / "page.md"
    page.write_text(f"{PAGE}<!-- text gone -->\nOld.\n<!-- end -->\n", encoding="utf-8")
    done = CliRunner().invoke(study, ["page", "--write"])
    assert isinstance(done.exception, RunFailure)
    written = blocks(page.read_text(encoding="utf-8"))
    assert written["gone"] == "Old."
    assert written["abstract"] == contents.content("abstract")
    assert list(contents.untrue(contents.page("page.md"))) == ["gone"]


def test_a_text_takes_numbers_from_the_records(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(facts.FACTS, "holds", lambda _: True)
    monkeypatch.setitem(facts.FACTS, "fails", lambda _: False)
    assert texts.filled("Up to {abstract} %,\n{check holds a}\nthey say.", "t") == "Up to 39 to 97 %, they say."
    with pytest.raises(texts.UntrueText, match=r"t: \{check fails a\} does not hold"):
        texts.filled("One. {check fails a}", "t")
    with pytest.raises(UnknownName, match="abstract"):
        texts.filled("{abstrac}", "t")
    with pytest.raises(UsageError, match="no published run of disc-opt in nowhere"):
        texts.filled("{seeds nowhere}", "t")


def test_arguments_and_braces_of_a_text_are_checked() -> None:
    with pytest.raises(UsageError, match=r"t: \{seeds\}: missing a required argument: 'folder'; .* are: folder"):
        texts.filled("{seeds}", "t")
    with pytest.raises(UsageError, match=r"t: \{abstract now\}: too many positional arguments; .* are: none"):
        texts.filled("{abstract now}", "t")
    for alone in ("One {abstract", "One abstract}"):
        with pytest.raises(UsageError, match="has a brace alone"):
            texts.filled(alone, "t")


PROVEN = {f"{BSDS300.hidden[0]:,}", str(Hepmass.columns), f"{100 * STEADY:.0f}"}
"""Numbers of the study's problems and of pynode that texts write out."""


def written_out(template: str) -> set[str]:
    """Numbers of a template that are neither in braces nor arguments of them: names and code have none."""
    known = {word for braces in re.findall(r"\{([^{}]+)\}", template) for word in braces.split()}
    prose = without_code(re.sub(r"\{[^{}]+\}|\]\([^)]*\)|^\d+\. ", "", template, flags=re.MULTILINE))
    for name in NAMES:
        prose = re.sub(name, "", prose, flags=re.IGNORECASE)
    return set(re.findall(r"\d+(?:[.,]\d+)*", prose)) - known - PROVEN


def test_texts_write_out_no_number() -> None:
    """What stands in a template is in no record; `{name argument ...}` is, or it belongs into words."""
    assert {
        name: there
        for name in texts.names()
        if (there := written_out((texts.TEXTS / f"{name}.md").read_text(encoding="utf-8")))
    } == {}
    assert written_out("In {seeds x} of 7 seeds, after 1,200 of {ahead y 300} and 300.") == {"7", "1,200"}
    assert written_out("By `disc-opt-x10` in `7.5` ms, `--steps 3`.") == {"7.5"}


def test_records_of_the_study_come_before_older_ones(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for folder in ("spiral", "map", "figures", "study/spiral", "study/power", "study/.power.new"):
        (tmp_path / folder).mkdir(parents=True)
    monkeypatch.setattr(published, "PUBLISHED", tmp_path)
    assert published.folders() == ["power", "spiral", "map"]
    assert published.place_of("spiral") == tmp_path / "study" / "spiral"
    assert published.place_of("map") == tmp_path / "map"
    assert published.place_of("study") is None
    assert published.linked("power") == f"[power]({tmp_path.name}/study/power)"
    assert published.linked("gas") == "gas"


def test_commands_without_a_record_of_their_own_tell_their_commit(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In the table of records: beside those of the runs, where it is another one."""
    monkeypatch.setattr(published, "PUBLISHED", tmp_path)
    folder = tmp_path / "study" / "made-up"
    assert commits_text("made-up") == "commit not recorded"
    note_done(folder, [Done(["gradients"], 1.0, 0.5, "a" * 40), Done(["evaluate"], 1.0, 0.5, "a" * 40)])
    assert commits_text("made-up") == "commit `aaaaaaa`"
    assert "| [made-up](" in records()
    assert "| `aaaaaaa` |" in records()
    made = {"time": "2026-11-29T", "git": {"commit": "b" * 40, "changed": False}}
    write_json(folder / "environment.json", [made])
    assert commits_text("made-up") == "commit `bbbbbbb` (2026-11-29), commit `aaaaaaa`"
    write_json(folder / "environment.json", [made | {"git": {"commit": "a" * 40, "changed": False}}])
    assert commits_text("made-up") == "commit `aaaaaaa` (2026-11-29)"


def test_wrapped_lists_keep_their_items() -> None:
    made = wrapped(f"1. {'word ' * 40}\nmore\n2. two\n\nA paragraph.")
    lines = made.splitlines()
    assert lines[1].startswith("   word")
    assert lines[-3:] == ["2. two", "", "A paragraph."]
    assert max(map(len, lines)) <= WIDTH
    assert table(["a"], []) == "No record yet."


def test_medians_come_with_their_range_and_ends_with_their_reason() -> None:
    runs = [run("disc-opt", [8.0, 2.0 + seed, 4.0 + seed], seconds=1.0, nfe=1, seed=seed) for seed in range(3)]
    assert quantities.over_seeds(runs, quantities.best) == "3 (2 to 4)"
    assert quantities.over_seeds(runs, quantities.last) == "5 (4 to 6)"
    assert quantities.over_seeds(runs[:1], quantities.last) == "4"
    assert quantities.over_seeds(runs, quantities.summary("test_nll")) == "–"
    assert quantities.ended(runs) == "all 3 iterations"
    (runs[0].summary or {}).update(stopped_early=True, iterations=2)
    assert quantities.ended(runs) == "2 x all 3 iterations, 1 x stopped by the rule after 2"
    (runs[1].summary or {}).update(status="failed")
    assert quantities.ended(runs[1:2]) == "1 failed"


def test_a_command_does_not_tell_the_folders_of_a_machine() -> None:
    made = {"command": ["experiments/run.py", "compare", "npy", "--data", "/home/me/rows.npy"], "time": "2026-11-29T"}
    assert command_of(made) == "`compare npy --data rows.npy`"
    assert command_of(made | {"command": ["experiments/run.py"]}) == "`run.py` without arguments"
    git = {"commit": "0123456789", "changed": True}
    assert commits_of([made | {"git": git}] * 2) == "commit `0123456` with uncommitted changes (2026-11-29)"
    assert commits_of([]) == "commit not recorded"


def test_runs_on_different_rows_are_named() -> None:
    """A median over them is one over other problems."""

    def on(train: int, seed: int) -> Run:
        made = disc_opt(seed, seconds=1.0)
        made.config["data"] = {"name": "power", "rows": {"train": train, "validation": 5, "test": 5}, "sha256": "a"}
        return made

    assert rows_of([on(60, 0), on(60, 1)]) == "60 / 5 / 5"
    assert rows_of([on(60, 0), on(61, 1)]) == "mixed rows, so that medians are over runs on 60 / 5 / 5 and 61 / 5 / 5"
