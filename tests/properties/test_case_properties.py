"""Case files: damaged bytes and odd values are refused in words, whole ones come back as they were."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import example, given
from hypothesis import strategies as st

from pynode.studies.crosscheck.case import ROWS, Case, DamagedCase, read_case, write_case
from tests.properties.profiles import tried
from tests.properties.strategies import damaged, plain

CASES = sorted((Path(__file__).resolve().parents[1] / "reference").glob("*.json"))
SMALL: dict[str, Any] = {
    "name": "small",
    "field": {"architecture": "concatsquash", "widths": [1, 1], "activation": "tanh"},
    "theta": [0.1, 0.2, 0.3, 0.4, 0.5],
    "batch": 2,
    "dim": 1,
    "divergence": "hutchinson",
    "probes": [[1.0], [-1.0]],
    "kinetic": True,
    "y0": [0.5, 0.0, 0.0, -0.5, 0.0, 0.0],
    "ts": [0.0, 0.5, 1.0],
    "loss_form": {"kind": "linear", "weights": [[1.0] * 6] * 3},
    "versions": {"torch": "2"},
    "reference": {"loss": 0.5, "grad_theta": [0.0] * 5, "grad_y0": [None] * 6, "rtol": 1e-9},
    "disc_opt": [{"scheme": "rk4", "substeps": 2, "failed": "it blew up"}],
}


@pytest.fixture(scope="module")
def read() -> Any:
    """Reads a case from bytes."""
    with tempfile.TemporaryDirectory() as folder:

        def from_bytes(content: bytes) -> Case:
            path = Path(folder) / "case.json"
            path.write_bytes(content)
            return read_case(path)

        yield from_bytes


def check(case: Case) -> None:
    """What is read can be solved, and written and read again."""
    ys = torch.zeros((len(case.ts), *case.y0.shape), dtype=torch.float64)
    assert case.loss(ys).shape == ()
    assert case.field()(case.ts[0], case.y0).shape == case.y0.shape
    assert all(isinstance(row.label, str) and (row.failed is None or isinstance(row.failed, str)) for row in case.rows)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "again.json"
        write_case(case, path)
        again = read_case(path)
    assert again.spec == case.spec
    assert torch.equal(again.theta, case.theta)
    assert torch.equal(again.y0, case.y0)
    assert torch.equal(again.ts, case.ts)
    assert len(again.rows) == len(case.rows)


@given(damaged(json.dumps(SMALL).encode()))
@tried(80)
def test_damaged_bytes(read: Callable[[bytes], Case], content: bytes) -> None:
    try:
        case = read(content)
    except DamagedCase:
        return
    check(case)


@pytest.mark.parametrize("path", CASES, ids=lambda p: p.stem)
@given(data=st.data())
@tried(2, 150)
def test_damaged_recorded_cases(read: Callable[[bytes], Case], path: Path, data: st.DataObject) -> None:
    try:
        case = read(data.draw(damaged(path.read_bytes())))
    except DamagedCase:
        return
    check(case)


@given(st.dictionaries(st.sampled_from(sorted(SMALL)), plain, max_size=2), st.sampled_from([None, *sorted(SMALL)]))
@tried(60)
def test_odd_values(read: Callable[[bytes], Case], other: dict[str, Any], dropped: str | None) -> None:
    content = {key: value for key, value in {**SMALL, **other}.items() if key != dropped}
    try:
        case = read(json.dumps(content).encode())
    except DamagedCase:
        return
    check(case)


KEYS = ("loss", "grad_theta", "rtol", "substeps", "label", "method", "scheme", "solver", "failed")


@example("reference", "rtol", float("nan"))
@given(st.sampled_from(["reference", *ROWS]), st.sampled_from(KEYS), plain)
@tried(40)
def test_odd_values_in_rows(read: Callable[[bytes], Case], key: str, inner: str, value: Any) -> None:
    row = {**SMALL["reference"], inner: value}
    try:
        case = read(json.dumps({**SMALL, key: row if key == "reference" else [row]}).encode())
    except DamagedCase:
        return
    check(case)


@example("shift", float("nan"))
@given(st.sampled_from(["kind", "weights", "shift", "scale", "data"]), plain)
@tried(30)
def test_odd_values_in_the_loss(read: Callable[[bytes], Case], inner: str, value: Any) -> None:
    for form in (SMALL["loss_form"], {"kind": "squares"}, {"kind": "nll"}):
        try:
            case = read(json.dumps({**SMALL, "loss_form": {**form, inner: value}}).encode())
        except DamagedCase:
            continue
        check(case)
