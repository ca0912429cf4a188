"""Whether the cost model's own range holds what is known of the study, and that its output says so where it doesn't."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from experiments.scale.records import Model, ReferenceRecord, read
from experiments.scale.report import findings, outside, references

PUBLISHED = Path(__file__).resolve().parents[2] / "experiments" / "published" / "scale"


def reference(published: str, low: float, high: float) -> ReferenceRecord:
    return ReferenceRecord("a cell", published, low, (low + high) / 2, high, "days")


@pytest.mark.parametrize(
    ("published", "low", "high", "inside"),
    [
        ("under 1", 0.9, 7.0, True),
        ("under 1", 1.0, 7.0, False),
        ("9 (once)", 1.0, 20.0, True),
        ("9 (once)", 9.5, 20.0, False),
        ("9 (once)", 1.0, 8.5, False),
        ("39 to 97, six of seven", 23.7, 40.0, True),
        ("39 to 97, six of seven", 98.0, 50.0, True),
        ("39 to 97, six of seven", -25.0, 38.0, False),
        ("39 to 97, six of seven", 97.2, 97.3, True),
        ("39 to 97, six of seven", 97.6, 97.7, False),
        ("1.25", 1.2, 1.246, True),
        ("1.25", 1.2, 1.244, False),
        ("36.9 (seconds)", 5.0, 5.0, None),
    ],
)
def test_the_range_is_compared_with_what_is_known(published: str, low: float, high: float, inside: bool | None) -> None:
    assert reference(published, low, high).inside is inside


@pytest.mark.parametrize(
    ("published", "unit", "known"),
    [
        ("under 1", "days", "under 1 day"),
        ("9 (once)", "days", "9 days (once)"),
        ("39 to 97, six of seven", "%", "39 to 97 %, six of seven"),
        ("36.9 (seconds)", "", "36.9 (seconds)"),
    ],
)
def test_a_known_number_has_its_unit_behind_it(published: str, unit: str, known: str) -> None:
    assert replace(reference(published, 1.0, 2.0), unit=unit).known == known


def model_with(*known: ReferenceRecord) -> Model:
    return Model({"device": "a100", "price": 3.0}, [], [], [], list(known), [], [])


def test_what_the_range_excludes_is_said_beside_the_table_and_in_the_findings() -> None:
    model = model_with(reference("under 1", 1.5, 7.0), reference("9 (once)", 1.0, 20.0))
    (sentence,) = outside(model)
    assert sentence == (
        "The model's own range excludes what is known of the study: a cell, under 1 day there, 1.5 to 7 by the model."
    )
    table = references(model)
    assert [row[-1] for row in table.rows] == ["no", "yes"]
    assert [row[1] for row in table.rows] == ["under 1 day", "9 days (once)"]
    assert sentence in table.notes
    assert sentence in findings(model)
    assert outside(model_with(reference("9 (once)", 1.0, 20.0))) == []


def test_the_published_model_excludes_the_study_s_day() -> None:
    model = read(PUBLISHED)
    assert [r.what for r in model.references if r.inside is False] == ["the same problem, titan-x, disc-opt"]
    text = (PUBLISHED / "tables.md").read_text(encoding="utf-8")
    assert references(model).markdown() in text
