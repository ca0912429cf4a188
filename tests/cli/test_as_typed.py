"""Options in messages are written as the command takes them."""

from __future__ import annotations

import logging

import pytest

from pynode.cli.as_typed import BY_SET, OWN, TRAINING, as_typed, notices_as_typed
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
        ("density", "say so (header=true)", "say so (--header)"),
        ("density", "say so (header=false)", "say so (--no-header)"),
        ("density", "the file /data/drop=1/index=2.csv is empty", "the file /data/drop=1/index=2.csv is empty"),
        ("score", "leave out such rows (missing=drop)", "leave out such rows (--missing drop)"),
        ("series", "say so (missing_values=-9)", "say so (--missing-values -9)"),
        ("series", "(decimal=. or decimal=,)", "(--decimal . or --decimal ,)"),
        ("compare", "leave it out (drop=a), or (index=keep)", "leave it out (--set drop=a), or (--set index=keep)"),
        ("compare", "drop = 'x': no column", "--set drop = 'x': no column"),
        ("compare", "--set drop=x: given twice", "--set drop=x: given twice"),
        ("show", "leave it out (drop=a)", "leave it out (drop=a)"),
        ("density", "use pynode.OptDisc(adjoint='interpolating'), which", "use --adjoint interpolating, which"),
        ("show", "use pynode.OptDisc(adjoint='interpolating')", "use pynode.OptDisc(adjoint='interpolating')"),
    ],
)
def test_as_typed(command: str, said: str, typed: str) -> None:
    assert as_typed(said, command) == typed


def test_notices(caplog: pytest.LogCaptureFixture) -> None:
    log = logging.getLogger("pynode")
    with notices_as_typed("density"):
        log.warning("%s: dequantise=%s adds noise", "a.csv", "x")
    log.warning("dequantise=y")
    assert [record.getMessage() for record in caplog.records] == ["a.csv: --dequantise x adds noise", "dequantise=y"]
