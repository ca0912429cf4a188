"""What tests compare runs by."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Any

from pynode.records.files import read_lines
from pynode.records.iteration import TIMED_FIELDS, IterationRecord


def untimed(run: Path) -> list[dict[str, Any]]:
    """The records of a run directory without their seconds."""
    records = read_lines(run / "records.jsonl", IterationRecord)
    return [{k: v for k, v in asdict(r).items() if k not in TIMED_FIELDS} for r in records]
