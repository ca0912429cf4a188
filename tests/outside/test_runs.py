"""Runs with members from outside: their origin is recorded, showing them runs no file, resuming says what changed."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

import pynode
from pynode.cli import main
from pynode.errors import OutsideError
from pynode.methods.base import GradientMethod, method_from_json
from pynode.records.events import EVENTS, Event
from pynode.records.files import read_json, read_lines
from pynode.records.runs import load_run
from pynode.training.config import RunConfig
from pynode.training.plan import configure
from pynode.training.restore import restore
from pynode.training.trainer import train
from tests.outside.members import forget, write_files, write_package


def method_of(files: dict[str, str]) -> GradientMethod:
    """The method of one's own with the scheme of one's own."""
    return method_from_json({"method": files["method"], "scheme": files["scheme"], "steps": 2, "engine": "eager"})


def config_of(files: dict[str, str]) -> RunConfig:
    """A run where all is from outside."""
    kind = pynode.PROBLEMS.load(files["problem"])
    field = pynode.FIELDS.resolve(files["field"])
    return configure(kind, method_of(files), seed=0, iterations=4, problem_options={"architecture": field})


@pytest.fixture
def loud(tmp_path: Path) -> tuple[dict[str, str], Callable[[], int]]:
    """Files of members that count how often they run, and the count."""
    files = write_files(tmp_path)
    log = tmp_path / "log"
    for reference in files.values():
        path = Path(reference.rpartition(":")[0])
        path.write_text(path.read_text() + f"\nwith open({str(log)!r}, 'a') as log:\n    log.write('ran ')\n")
    return files, lambda: log.read_text().count("ran") if log.exists() else 0


def test_a_run_records_where_its_members_come_from(tmp_path: Path) -> None:
    files = write_files(tmp_path)
    config = config_of(files)
    assert config.label == "mine-ralston-x2-seed0"
    out = tmp_path / "run"
    assert train(config, out)["label"] == config.label
    plain = read_json(out / "config.json")
    assert (plain["problem"], plain["method"]["method"], plain["method"]["scheme"]) == ("decay", "mine", "ralston")
    assert {kind: f"{o['file']}:{o['member']}" for kind, o in plain["outside"].items()} == files
    forget()
    again = RunConfig.from_json(plain)
    assert json.loads(json.dumps(again.to_json())) == {k: v for k, v in plain.items() if k != "checksum"}


def test_pynodes_own_members_have_no_origin() -> None:
    config = configure(pynode.PROBLEMS.load("spiral"), pynode.DiscOpt(), seed=0)
    assert "outside" not in config.to_json()


def test_showing_runs_no_file_and_needs_none(
    loud: tuple[dict[str, str], Callable[[], int]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pynode.studies.render.save", lambda *_: [])
    files, ran = loud
    run = tmp_path / "out" / "runs" / "mine-ralston-x2-seed0"
    train(config_of(files), run)
    forget()
    before = ran()
    assert load_run(run).config["problem"] == "decay"
    assert main(["show", str(tmp_path / "out")]) == 0
    assert main(["list"]) == 0
    assert ran() == before
    for reference in files.values():
        Path(reference.rpartition(":")[0]).unlink()
    assert main(["show", str(tmp_path / "out")]) == 0
    forget()
    with pytest.raises(OutsideError, match=r"there is no file .*my_method\.py"):
        restore(run)


def test_resuming_says_what_has_changed(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    files = write_files(tmp_path)
    run = tmp_path / "run"
    train(config_of(files), run)
    forget()
    train(replace(config_of(files), iterations=6), run, resume=True)
    assert "changed member" not in {e.event for e in read_lines(run / EVENTS, Event)}

    forget()
    path = tmp_path / "my_scheme.py"
    path.write_text(path.read_text().replace("1 / 4, 3 / 4", "0.25, 0.75"))
    restore(run)
    assert f"{path}, which the scheme 'ralston' is in, has changed since" in caplog.text
    forget()
    train(replace(config_of(files), iterations=8), run, resume=True)
    said = [e.detail for e in read_lines(run / EVENTS, Event) if e.event == "changed member"]
    assert said == [f"{path}, which the scheme 'ralston' is in, has changed since"]
    forget()
    train(replace(config_of(files), iterations=10), run, resume=True)
    assert len([e for e in read_lines(run / EVENTS, Event) if e.event == "changed member"]) == 1


def test_a_file_may_move(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    (tmp_path / "first").mkdir()
    (tmp_path / "second").mkdir()
    run = tmp_path / "run"
    train(config_of(write_files(tmp_path / "first")), run)
    forget()
    files = write_files(tmp_path / "second")
    train(replace(config_of(files), iterations=6), run, resume=True)
    assert "changed since" not in caplog.text
    assert read_json(run / "config.json")["outside"]["scheme"]["file"] == str(tmp_path / "second" / "my_scheme.py")


def test_members_of_a_package_are_recorded_with_its_version(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    site = tmp_path / "site"
    write_package(site, "spirals")
    monkeypatch.syspath_prepend(str(site))
    names = {"problem": "decay", "method": "mine", "scheme": "ralston", "field": "damped"}
    run = tmp_path / "run"
    train(config_of(names), run)
    plain = read_json(run / "config.json")
    assert plain["outside"]["scheme"] == {
        "name": "ralston",
        "member": "spirals.my_scheme:RALSTON",
        "package": "spirals",
        "version": "1.2",
    }
    metadata = site / "spirals-1.2.dist-info" / "METADATA"
    metadata.write_text(metadata.read_text().replace("1.2", "1.3"))
    monkeypatch.syspath_prepend(str(tmp_path / "elsewhere"))  # metadata are read again where the path is another
    restore(run)
    assert "the scheme 'ralston' is of spirals 1.3 now, was of spirals 1.2" in caplog.text

    monkeypatch.setattr(sys, "path", [p for p in sys.path if p != str(site)])
    assert load_run(run).config["problem"] == "decay", "it is shown without the package"
    with pytest.raises(OutsideError, match=r"'decay' came from the package spirals 1\.2 .*, which is not installed"):
        RunConfig.from_json(plain)


@pytest.mark.parametrize(
    ("outside", "said"),
    [
        ({"scheme": {"name": "x"}}, "does not say where"),
        ({"study": {"name": "x", "member": "X", "file": "x.py"}}, "another version of pynode"),
        ({"scheme": {"name": "rk4", "member": "X", "file": "/x.py"}}, "two members are the scheme 'rk4'"),
    ],
)
def test_origins_that_are_none(outside: dict[str, Any], said: str) -> None:
    plain = json.loads(json.dumps(configure(pynode.PROBLEMS.load("spiral"), pynode.DiscOpt(), seed=0).to_json()))
    with pytest.raises(pynode.UsageError, match=said):
        RunConfig.from_json({**plain, "outside": outside})
