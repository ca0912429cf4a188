"""The audit of CI: fails on a known vulnerability, passes without a network, and never takes silence for safety."""

from __future__ import annotations

import importlib.machinery
import importlib.util
import json
import sys
from pathlib import Path
from types import ModuleType

import pytest

SCRIPT = Path(__file__).resolve().parents[1] / ".ci" / "audit"

PRETENDED = """
import json, sys
known = json.loads({known!r})
pins = [line.strip().split("==") for line in open(sys.argv[sys.argv.index("-r") + 1])]
if known is None:
    sys.exit("requests.exceptions.ConnectionError: no route to host")
print(json.dumps({{"dependencies": [
    {{"name": name, "version": version, "vulns": known[name]}} if name in known
    else {{"name": name, "skip_reason": "not found"}}
    for name, version in pins
]}}))
"""
"""Answers as pip-audit does, from what it knows."""

HOLE = [{"id": "X-1", "aliases": ["CVE-2000-1"], "fix_versions": ["9.9"], "description": "a hole"}]


@pytest.fixture
def audit(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.setattr(sys, "dont_write_bytecode", True)  # beside the script
    loader = importlib.machinery.SourceFileLoader("ci_audit", str(SCRIPT))
    spec = importlib.util.spec_from_loader("ci_audit", loader)
    assert spec is not None
    module = importlib.util.module_from_spec(spec)
    loader.exec_module(module)
    return module


def pretend(audit: ModuleType, monkeypatch: pytest.MonkeyPatch, known: object) -> None:
    command = [sys.executable, "-c", PRETENDED.format(known=json.dumps(known))]
    monkeypatch.setattr(audit, "installed", lambda folder: command)


def all_pins(audit: ModuleType) -> dict[str, list[object]]:
    return {name: [] for pins in audit.by_python() for name, _ in pins}


def test_a_known_vulnerability_fails(
    audit: ModuleType, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    pretend(audit, monkeypatch, {**all_pins(audit), "requests": HOLE, "torch": HOLE})
    assert audit.main() == 1
    assert "torch 2.13.0: X-1 (CVE-2000-1); mended in 9.9" in capsys.readouterr().out


def test_none_among_all_pins_passes(
    audit: ModuleType, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    known = all_pins(audit)
    del known["six"]
    monkeypatch.setattr(audit, "CONTROL", ("control", "1"))
    pretend(audit, monkeypatch, {**known, "control": HOLE})
    assert audit.main() == 0
    said = capsys.readouterr().out
    assert "pypi does not know: six" in said
    assert "0 with known vulnerabilities" in said


@pytest.mark.parametrize("known", [None, {}], ids=["no network", "a service that knows nothing"])
def test_without_a_service_it_is_skipped_and_says_so(
    audit: ModuleType, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], known: object
) -> None:
    pretend(audit, monkeypatch, known)
    assert audit.main() == 0
    said = capsys.readouterr().out
    assert said.startswith("audit SKIPPED")
    assert "pypi" in said
    assert "osv" in said


def test_both_pythons_are_looked_up(audit: ModuleType) -> None:
    old, new = (dict(pins) for pins in audit.by_python())
    assert old["scipy"] != new["scipy"]
    assert "pip_audit" in old
    assert set(old) >= {"torch", "numpy", "requests"}
