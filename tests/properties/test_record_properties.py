"""Records: of damaged files the intact part is read, or they are refused in words; never another number."""

from __future__ import annotations

import gzip
import json
import math
import tempfile
from collections.abc import Iterator
from dataclasses import fields
from pathlib import Path
from typing import Any, get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pynode.errors import RecordError
from pynode.records.files import append_line, read_intact_lines, read_json, read_lines, write_json, write_lines
from pynode.records.iteration import IterationRecord
from pynode.studies.crosscheck.record import Verdict
from pynode.studies.gradients.record import TaylorRecord
from pynode.studies.invertibility.record import Use
from pynode.studies.results import LINES
from pynode.studies.winners.record import METHODS, WinnerRecord
from tests.properties.profiles import tried
from tests.properties.strategies import damaged, plain

finite = st.floats(allow_nan=False, allow_infinity=False)
BY_TYPE: dict[str, st.SearchStrategy[Any]] = {
    "Count": st.integers(0, 10**12),
    "Positive": st.integers(1, 10**6),
    "float": finite,
    "Seconds": st.floats(0, allow_infinity=False),
    "NonNegative": st.floats(0, allow_infinity=False),
    "PositiveNumber": st.floats(0, exclude_min=True, allow_infinity=False),
    "str": st.text(max_size=8),
    "bool": st.booleans(),
    "None": st.none(),
    "tuple[NonNegative, NonNegative]": st.tuples(*2 * [st.floats(0, allow_infinity=False)]),
    "dict[str, Any]": st.dictionaries(
        st.text(max_size=5), st.integers(-(2**53), 2**53) | st.text(max_size=5), max_size=3
    ),
    "Verdict": st.sampled_from(get_args(Verdict)),
    "Use": st.sampled_from(get_args(Use)),
}


def values_of(kind: str) -> st.SearchStrategy[Any]:
    """Values of the type that is written as `kind` in a record."""
    if kind.startswith("list["):
        return st.lists(values_of(kind[5:-1]), max_size=4)
    return BY_TYPE[kind] if kind in BY_TYPE else st.one_of(*(values_of(part) for part in kind.split(" | ")))


def records_of(kind: type[Any]) -> st.SearchStrategy[Any]:
    """Records of a kind, as pynode could write them."""
    if kind is TaylorRecord:  # its lists are of one length
        parts = st.lists(
            st.tuples(*(values_of(t) for t in ("PositiveNumber", *2 * ["NonNegative | None"]))), max_size=4
        )
        texts = {f.name: values_of(str(f.type)) for f in fields(kind) if f.name not in ("h", "e0", "e1", "fitted")}
        return st.builds(_taylor, parts, st.fixed_dictionaries(texts))
    methods = {"method": st.sampled_from(METHODS)} if kind is WinnerRecord else {}
    return st.builds(kind, **{f.name: values_of(str(f.type)) for f in fields(kind)} | methods)


def _taylor(parts: list[tuple[Any, ...]], others: dict[str, Any]) -> TaylorRecord:
    h, e0, e1 = ([part[k] for part in parts] for k in range(3))
    return TaylorRecord(h=h, e0=e0, e1=e1, fitted=[0, len(h)], **others)


records = records_of(IterationRecord)
KINDS = (IterationRecord, *(kind for _, kind in LINES.values()))


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.__name__)
@given(data=st.data())
@tried(30, 1000)
def test_all_that_is_written_is_read_back(folder: Path, kind: type[Any], data: st.DataObject) -> None:
    content = data.draw(st.lists(records_of(kind), max_size=3))
    path = folder / "kind.jsonl"
    write_lines(path, content)
    assert read_lines(path, kind) == content


@pytest.fixture(scope="module")
def folder() -> Iterator[Path]:
    with tempfile.TemporaryDirectory() as name:
        yield Path(name)


def written(folder: Path, content: list[IterationRecord]) -> bytes:
    path = folder / "whole.jsonl"
    write_lines(path, content)
    return path.read_bytes()


@given(st.lists(records, max_size=4))
def test_lines_come_back(folder: Path, content: list[IterationRecord]) -> None:
    appended, zipped = folder / "appended.jsonl", folder / "zipped.jsonl.gz"
    whole = written(folder, content)
    appended.unlink(missing_ok=True)
    appended.touch()
    for record in content:
        append_line(appended, record)
    zipped.write_bytes(gzip.compress(whole))
    assert appended.read_bytes() == whole
    for path in (appended, zipped, folder / "whole.jsonl"):
        assert read_lines(path, IterationRecord) == content


@given(st.lists(records, min_size=1, max_size=3), st.booleans(), st.data())
@tried(150, 3000)
def test_damaged_lines(folder: Path, content: list[IterationRecord], zipped: bool, data: st.DataObject) -> None:
    """Every record that is read is one that was written, in their order."""
    path = folder / ("damaged.jsonl.gz" if zipped else "damaged.jsonl")
    whole = written(folder, content)
    path.write_bytes(data.draw(damaged(gzip.compress(whole, mtime=0) if zipped else whole)))
    try:
        intact, bad = read_intact_lines(path, IterationRecord)
    except RecordError:
        assert zipped, "a plain file is damaged line by line"
        return
    left = iter(content)
    assert all(any(record == other for other in left) for record in intact), "another number, or another order"
    if bad:
        with pytest.raises(RecordError, match=path.name):
            read_lines(path, IterationRecord)
    else:
        assert read_lines(path, IterationRecord) == intact


@given(st.lists(plain, max_size=3), st.sampled_from(KINDS), st.data())
@tried(100)
def test_any_json_as_lines(folder: Path, values: list[Any], kind: type[Any], data: st.DataObject) -> None:
    """Also with the names of the fields."""
    path = folder / "any.jsonl"
    names = [f.name for f in fields(kind)]
    values.append(
        {name: data.draw(plain) for name in data.draw(st.permutations(names))[: data.draw(st.integers(0, 40))]}
    )
    path.write_text("".join(json.dumps(value) + "\n" for value in values), encoding="utf-8")
    try:
        read_back = read_lines(path, kind)
    except RecordError:
        return
    assert all(isinstance(record, kind) for record in read_back)
    assert len(read_back) == len(values)


def _as_read(value: Any) -> Any:
    """NaN and infinity are written as null."""
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, dict):
        return {k: _as_read(v) for k, v in value.items()}
    return [_as_read(v) for v in value] if isinstance(value, list) else value


@given(plain.filter(lambda v: not isinstance(v, dict) or "checksum" not in v))
@tried(100)
def test_json_comes_back(folder: Path, value: Any) -> None:
    path = folder / "value.json"
    write_json(path, value)
    assert read_json(path) == _as_read(value)


@given(st.dictionaries(st.text(max_size=5), st.integers() | st.text(max_size=5), max_size=4), st.data())
@tried(150, 3000)
def test_damaged_json(folder: Path, value: dict[str, Any], data: st.DataObject) -> None:
    """What was written, or refused: unless somebody took the checksum out."""
    value = {k: v for k, v in value.items() if k != "checksum"}
    path = folder / "damaged.json"
    write_json(path, value)
    path.write_bytes(data.draw(damaged(path.read_bytes())))
    try:
        read_back = read_json(path)
    except RecordError:
        return
    assert read_back == value or "checksum" not in path.read_text(encoding="utf-8", errors="replace")


@given(st.binary(max_size=60))
@tried(100)
def test_any_bytes(folder: Path, content: bytes) -> None:
    for name, read in (
        ("a.json", read_json),
        ("a.jsonl", lambda path: read_lines(path, IterationRecord)),
        ("a.jsonl.gz", lambda path: read_lines(path, IterationRecord)),
    ):
        (folder / name).write_bytes(content)
        try:
            value = read(folder / name)
        except RecordError:
            continue
        assert value is None or isinstance(value, (bool, int, float, str, list, dict))
