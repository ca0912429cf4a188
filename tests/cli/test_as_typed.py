"""Options in messages are written as the command takes them."""

from __future__ import annotations

import logging
from pathlib import Path

import pytest

from pynode.cli.as_typed import BY_SET, OWN, TRAINING, as_typed, notices_as_typed, paths_as_typed
from tests.cli.test_options import GROUP, flag, flags


def test_the_options_are_those_of_the_commands() -> None:
    for command, names in OWN.items():
        assert {flag(name) for name in names} - flags(command) == set()
    for command in TRAINING:
        assert "--adjoint" in flags(command)
    for command in BY_SET:
        assert "--set" in flags(command)
    assert set(GROUP.commands) >= {*OWN, *BY_SET}


@pytest.mark.parametrize(
    ("command", "said", "typed"),
    [
        ("density", "leave it out (drop=a,b) or (index=keep)", "leave it out (--drop a,b) or (--index keep)"),
        ("density", "left out (index=keep keeps it)", "left out (--index keep keeps it)"),
        ("density", "say so (header=True)", "say so (--header)"),
        ("density", "say so (header=False)", "say so (--no-header)"),
        ("density", "the file /data/drop=1/index=2.csv is empty", "the file /data/drop=1/index=2.csv is empty"),
        ("score", "leave out such rows (missing=drop)", "leave out such rows (--missing drop)"),
        ("series", "say so (missing_values=-9)", "say so (--missing-values -9)"),
        ("series", "name the column of times (time=COLUMN)", "name the column of times (--time COLUMN)"),
        ("series", "(decimal=. or decimal=,)", "(--decimal . or --decimal ,)"),
        ("compare", "leave it out (drop=a), or (index=keep)", "leave it out (--set drop=a), or (--set index=keep)"),
        ("compare", "drop = 'x': no column", "--set drop = 'x': no column"),
        ("compare", "--set drop=x: given twice", "--set drop=x: given twice"),
        ("compare", "say so (header=True)", "say so (--set header=true)"),
        ("compare", "give one (data=FILE)", "give one (--data FILE)"),
        ("suite", "give one (data=FILE)", "give one (--set data=FILE)"),
        ("series", "as it is (window=N for others)", "as it is (--window N for others)"),
        (
            "series",
            "window of id=3 (id=site (m) or id=2) for id=4",
            "window of id=3 (--id site (m) or --id 2) for id=4",
        ),
        ("series", "say so (missing_values='not measured')", "say so (--missing-values 'not measured')"),
        ("series", "say so (missing_values=\"'no'\")", """say so (--missing-values ''"'"'no'"'"'')"""),
        ("series", "say so (missing_values='$a,(b')", "say so (--missing-values '$a,(b')"),
        ("compare", "say so (missing_values='***')", "say so (--set missing_values='***')"),
        ("predict", "say so (missing_values='$a,(b')", "say so"),
        ("predict", "an earlier end, or more (every=0.3)", "an earlier end, or more (--every 0.3)"),
        ("predict", "leave it out (leave_out=P4), or mend it", "leave it out, or mend it"),
        ("score", "leave out such rows (missing=drop) or it (drop=a)", "leave out such rows (--missing drop) or it"),
        ("show", "leave it out (drop=a)", "leave it out"),
        ("density", "use pynode.OptDisc(adjoint='interpolating'), which", "use --adjoint interpolating, which"),
        ("show", "use pynode.OptDisc(adjoint='interpolating')", "use pynode.OptDisc(adjoint='interpolating')"),
    ],
)
def test_as_typed(command: str, said: str, typed: str) -> None:
    assert as_typed(said, command) == typed


def test_notices(caplog: pytest.LogCaptureFixture) -> None:
    log = logging.getLogger("pynode")
    with notices_as_typed("density"):
        log.warning("%s: add noise (dequantise=%s)", "a.csv", "x")
    log.warning("(dequantise=y)")
    assert [record.getMessage() for record in caplog.records] == ["a.csv: add noise (--dequantise x)", "(dequantise=y)"]


def test_files_are_named_as_typed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "t.csv").touch()
    (inside := tmp_path / "inside").mkdir()
    said = f"{tmp_path}/t.csv, line 2: no number (see {tmp_path}/t.csv.txt, {tmp_path}/other.csv)"
    monkeypatch.chdir(tmp_path)
    typed = f"t.csv, line 2: no number (see {tmp_path}/t.csv.txt, {tmp_path}/other.csv)"
    assert paths_as_typed(said, ["density", "--data", "t.csv", "--out", "inside"]) == typed
    assert paths_as_typed(said, ["density", "--data=t.csv"]) == typed
    assert paths_as_typed(said, ["density", "--data", f"{tmp_path}/t.csv"]) == said
    assert paths_as_typed(said, ["compare", "--set", "data=t.csv"]) == typed
    assert paths_as_typed(said, ["density", "--data", "t" * 300, f"--data={'t' * 300}", "t.csv\0"]) == said
    (tmp_path / "a=b.csv").touch()
    (tmp_path / "b.csv").touch()
    equals = f"{tmp_path}/a=b.csv has no rows"
    assert paths_as_typed(equals, ["density", "--data", "a=b.csv"]) == "a=b.csv has no rows"
    assert paths_as_typed(equals, ["compare", "--set", "data=a=b.csv"]) == "a=b.csv has no rows"
    monkeypatch.chdir(inside)
    upwards = f"{inside}/../t.csv has no rows"
    assert paths_as_typed(upwards, ["density", "--data", "../t.csv"]) == "../t.csv has no rows"
