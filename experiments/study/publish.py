"""Publishes parts of the study: records, tables and figures without checkpoints, long records gzipped."""

from __future__ import annotations

import gzip
import shutil
from collections.abc import Iterator, Sequence
from pathlib import Path

from experiments.study.plan import chosen, read_plan
from experiments.study.progress import done_in
from pynode.errors import UsageError
from pynode.records.events import EVENTS
from pynode.records.run_files import CONFIG, EVALUATION, SUMMARY
from pynode.records.runs import RECORDS, RUNS
from pynode.training.run_directory import ENVIRONMENT

OF_RUN = (CONFIG, ENVIRONMENT, SUMMARY, EVALUATION, EVENTS)
"""Files of a run that are published as they are."""

OF_PART = ("*.json", "*.jsonl", "tables.md", "figures/*.png")


def publish_parts(out: Path, to: Path, names: Sequence[str] | None = None) -> Iterator[tuple[str, int]]:
    """Copies the parts called `names`, or all that are done, from `out` to `to`; gives name and bytes of each.

    A part in `to` is replaced whole.  Raises `UsageError` for a part that is not done.
    """
    for part in chosen(read_plan(), names):
        source = out / part.name
        done = [d.command for d in done_in(source)]
        if missing := [" ".join(c) for c in part.commands if list(c) not in done]:
            if names is not None:
                raise UsageError(f"--parts {part.name}: not done ({missing[0]}); run the study first")
            continue
        target = to / part.name
        shutil.rmtree(target, ignore_errors=True)
        for pattern in OF_PART:
            for path in sorted(source.glob(pattern)):
                _copy(path, target / path.relative_to(source))
        for run in sorted((source / RUNS).glob("*")):
            for name in OF_RUN:
                if (run / name).exists():
                    _copy(run / name, target / RUNS / run.name / name)
            if (run / RECORDS).exists():
                _pack(run / RECORDS, target / RUNS / run.name / f"{RECORDS}.gz")
        yield part.name, sum(path.stat().st_size for path in target.rglob("*") if path.is_file())


def _copy(path: Path, target: Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(path, target)


def _pack(path: Path, target: Path) -> None:
    """Gzips `path`, without the time, so that the same records give the same bytes."""
    target.parent.mkdir(parents=True, exist_ok=True)
    with target.open("wb") as raw, gzip.GzipFile("", "wb", 9, raw, mtime=0) as packed:
        packed.write(path.read_bytes())
