"""The page from records: what it shows, that it runs nothing that records say, and that it asks for nothing."""

from __future__ import annotations

import base64
import hashlib
import json
import re
import shutil
from pathlib import Path

import pytest

from pynode.records.events import EVENTS, Event, note
from pynode.records.files import append_line
from pynode.studies.page.machines import read_starts, start_tables
from pynode.studies.render import draw, page_of, read_off
from pynode.studies.results import load_intact
from tests.studies.page.parsed import Parsed, parse

RECORDED = Path(__file__).parents[2] / "compatibility" / "runs"
HOSTILE = "<img src=x onerror=alert(1)>\"'&"
RUN = "disc-opt-rk4-x1-seed0"


def page(directory: Path) -> str:
    rendered = read_off(load_intact(directory))
    draw(rendered)
    return page_of(rendered).decode()


@pytest.fixture
def spiral(tmp_path: Path) -> Path:
    return Path(shutil.copytree(RECORDED / "spiral", tmp_path / "spiral"))


def plainly(parsed: Parsed) -> str:
    return " ".join(parsed.texts)


def check_safe(text: str) -> Parsed:
    """Checks what every page promises; returns what stands in it."""
    parsed = parse(text)
    assert len(set(parsed.ids)) == len(parsed.ids)
    assert set(parsed.references) <= set(parsed.ids)
    for name, attributes in parsed.elements:
        assert not [a for a in attributes if a.startswith("on") or a in ("style", "srcdoc", "action")], (
            name,
            attributes,
        )
        for link in ("src", "href", "xlink:href"):
            assert str(attributes.get(link) or "#").startswith(("#", "data:image/png;base64,")), (name, attributes)
    assert not {name for name, _ in parsed.elements} & {"iframe", "object", "embed", "form", "base", "img"}
    (policy,) = [a["content"] for a in parsed.named("meta") if a.get("http-equiv") == "Content-Security-Policy"]
    assert policy is not None
    assert policy.startswith("default-src 'none';")
    assert "unsafe" not in policy
    for name in ("style", "script"):
        (content,) = re.findall(f"<{name}>(.*?)</{name}>", text, flags=re.DOTALL)
        digest = base64.b64encode(hashlib.sha256(content.encode()).digest()).decode()
        assert f"{name}-src 'sha256-{digest}'" in policy
    return parsed


@pytest.mark.parametrize(
    "name", ["spiral", "8gaussians", "sweep", "crosscheck", "gradients", "map", "julia", "multilevel", "methods"]
)
def test_a_page_of_every_kind(name: str) -> None:
    parsed = check_safe(page(RECORDED / name))
    assert parsed.named("h1")
    assert parsed.named("table")


def test_the_verdict_comes_first(spiral: Path) -> None:
    text = page(spiral)
    finding = read_off(load_intact(spiral)).findings[0]
    assert text.index("Verdict") < text.index(finding[:40]) < text.index("<figure")
    assert "Comparison" in text
    assert "2 runs: 2 methods, 1 seed" in text


def test_settings_versions_commands_and_commits(spiral: Path) -> None:
    text = plainly(parse(page(spiral)))
    noted = json.loads((spiral / "runs" / RUN / "environment.json").read_text())[0]
    config = json.loads((spiral / "runs" / RUN / "config.json").read_text())
    for said in (noted["python"], noted["processor"], f"torch {noted['packages']['torch']}", noted["git"]["commit"]):
        assert said in text
    assert "compare spiral" in text
    assert "learning_rate" in text
    assert str(config["learning_rate"]) in text
    assert "method.scheme" in text


def test_equal_records_give_equal_bytes(spiral: Path, tmp_path: Path) -> None:
    first = page(spiral)
    copy = Path(shutil.copytree(spiral, tmp_path / "elsewhere" / "spiral"))
    assert page(copy) == first == page(spiral)


def test_what_records_say_is_text(spiral: Path) -> None:
    runs = spiral / "runs"
    named = (runs / RUN).rename(runs / HOSTILE)
    for file, change in (
        (
            "environment.json",
            lambda data: data[0].update(processor=HOSTILE, command=[HOSTILE], extra={HOSTILE: HOSTILE}),
        ),
        ("config.json", lambda data: data["options"].update({HOSTILE: HOSTILE})),
    ):
        data = json.loads((named / file).read_text())
        change(data)
        if isinstance(data, dict):
            data.pop("checksum", None)
        (named / file).write_text(json.dumps(data))
    (named / "summary.json").write_text(
        json.dumps({"status": "failed", "iterations": 4, "best_validation_loss": None, "error": HOSTILE})
    )
    # an escape sequence of a terminal, and half a letter; not by `note`, whose message to the log no report could hold
    append_line(named / EVENTS, Event("", HOSTILE, 3, f"\x1b[31m{HOSTILE}\ud800"))
    text = page(spiral)
    parsed = check_safe(text)
    assert "onerror=alert" in plainly(parsed)
    assert "\x1b" not in text
    assert "\\x1b[31m" in text


def test_failures_are_said_plainly(spiral: Path) -> None:
    folder = spiral / "runs" / RUN
    (folder / "summary.json").write_text(
        json.dumps({"status": "failed", "iterations": 4, "best_validation_loss": None, "error": "the loss is NaN"})
    )
    (spiral / "runs" / "opt-disc-dopri5-rtol1e-07-seed0" / "summary.json").unlink()
    (spiral / "summary.json").write_text(json.dumps({"failures": ["disc-opt: the loss is NaN", "a third one"]}))
    note(folder, "interrupted", 2, "by hand")
    parsed = check_safe(page(spiral))
    said = parsed.texts[parsed.texts.index("Failures and damage") + 1 :][:3]
    assert said[0] == f"{RUN} failed: the loss is NaN"
    assert said[1].startswith("opt-disc-dopri5-rtol1e-07-seed0 is not finished: ")
    assert said[2] == "Failed: a third one"
    assert "by hand" in parsed.texts
    assert "not finished" in parsed.texts


def test_damaged_parts_are_named_and_the_rest_is_shown(spiral: Path) -> None:
    (spiral / "runs" / RUN / "config.json").write_text("{")
    (spiral / "runs" / "opt-disc-dopri5-rtol1e-07-seed0" / "environment.json").write_text("[")
    parsed = check_safe(page(spiral))
    damaged = [text for text in parsed.texts if text.startswith("Damaged, and left out: ")]
    assert len(damaged) == 2
    assert "config.json" in damaged[0]
    assert "environment.json" in damaged[1]
    assert "opt-disc-dopri5-rtol1e-07-seed0" in parsed.texts


def test_a_suite_shows_its_parts(tmp_path: Path) -> None:
    suite = tmp_path / "suite"
    for name in ("spiral", "fused", HOSTILE.replace("/", "")):
        shutil.copytree(RECORDED / ("fused" if name == "fused" else "spiral"), suite / name)
    results = load_intact(suite)
    rendered = read_off(results)
    draw(rendered)
    parsed = check_safe(page_of(rendered).decode())
    assert "Suite" in parsed.texts
    assert len([a for a in parsed.named("details") if a.get("class") == "part"]) == 3
    drawn = {name: read_off(part) for name, part in results.parts.items()}
    for part in drawn.values():
        draw(part)
    assert page_of(rendered, drawn) == page_of(rendered)
    assert page_of(rendered, {"spiral": read_off(results.parts["fused"])}) == page_of(rendered), "other records"


def test_machines_that_differ(spiral: Path) -> None:
    path = spiral / "runs" / RUN / "environment.json"
    (noted,) = json.loads(path.read_text())
    again = {**noted, "time": "2030-01-01", "command": ["x.py", "a b"]}
    path.write_text(json.dumps([noted, again, {**again, "cores": 96, "surprise": None}, 3]))
    starts, damaged = read_starts(load_intact(spiral))
    assert not damaged
    machines, commands = start_tables(starts)
    assert len(machines.columns) == 3
    assert ["cores", str(noted["cores"]), "96"] in machines.rows
    assert ["2030-01-01", "x.py 'a b'", RUN] in commands.rows
    assert start_tables([]) == []
