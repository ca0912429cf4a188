"""One workload by all entrants: first that they agree, then their turns, round after round."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from statistics import fmean, median
from typing import Any

import numpy as np

from experiments.benchmarks import agreement, records
from experiments.benchmarks.agreement import Reference
from experiments.benchmarks.ceilings import SQUARE, work_of
from experiments.benchmarks.entrants.base import Entrant, label
from experiments.benchmarks.process import Child, EntrantFailure
from experiments.benchmarks.records import CeilingRecord, EntryRecord, RepeatRecord, WorkloadRecord, path_of
from experiments.benchmarks.workload import Workload
from pynode.clock import load_average
from pynode.records.files import append_line

REFERENCE = "pynode-eager"
"""Whose gradient all others by Disc-Opt are compared with, whether it is timed or not."""

MOST_CALLS = 2000

Say = Callable[[str], None]


@dataclass(frozen=True)
class Contestant:
    """An entrant in one of its variants, and the module that defines it."""

    kind: type[Entrant]
    variant: str = ""

    @property
    def label(self) -> str:
        """Its name in records."""
        return label(self.kind.name, self.variant)


@dataclass(frozen=True)
class Settings:
    """`repeats` turns of about `block` seconds each, after a warm-up as long; `ceilings`: whether these are taken."""

    repeats: int = 15
    block: float = 0.25
    ceilings: bool = True
    caches: bool = True


class Pool:
    """Processes that stay up from one workload to the next: for suites of many small workloads, all with the threads
    and the device of the first.
    """

    def __init__(self) -> None:
        self._children: dict[str, Child] = {}
        self.shelf = Path(tempfile.mkdtemp(prefix="pynode-bench-"))

    def child(self, name: str, make: Callable[[], Child]) -> Child:
        """The process called `name`, started where it is not up."""
        if name not in self._children or self._children[name].closed:
            self._children[name] = make()
        return self._children[name]

    def __enter__(self) -> Pool:
        return self

    def __exit__(self, *_: object) -> None:
        for child in self._children.values():
            child.close()
        shutil.rmtree(self.shelf, ignore_errors=True)


@dataclass
class _Ready:
    """A contestant whose process is up, with the key of what will be timed."""

    contestant: Contestant
    child: Child
    key: str = ""
    calls: int = 1


def race(
    workload: Workload,
    kinds: Sequence[type[Entrant]],
    settings: Settings,
    directory: Path,
    say: Say,
    reference: Reference | None = None,
    pool: Pool | None = None,
) -> list[EntryRecord]:
    """Appends all records of this workload to the files in `directory`; returns what became of the entrants.

    Gradients are compared with `reference`; without one, it is computed.  Without a `pool` every entrant has a process
    for this workload alone.
    """
    append_line(path_of(directory, "workloads"), described(workload))
    entries: list[EntryRecord] = []
    with _shelf(workload) as shelf, ExitStack() as stack:
        arena = Arena(workload, shelf, directory, settings, pool)
        reference = reference or arena.reference(say)
        ready: list[_Ready] = []
        for kind in kinds:
            missing = absent(kind, workload)
            if missing is not None:
                entries.append(missing)
                continue
            for variant in kind.variants(workload):
                contestant = Contestant(kind, variant)
                say(f"{workload.name}: {contestant.label}, gradient")
                entry, mine = arena.admit(contestant, reference, stack)
                entries.append(entry)
                if mine is not None:
                    ready.append(mine)
        broken = arena.take_turns(ready, stack, say)
    entries = [
        replace(e, status=records.FAILED, reason=broken[e.entrant]) if e.entrant in broken else e for e in entries
    ]
    for entry in entries:
        append_line(path_of(directory, "entries"), entry)
    return entries


def absent(kind: type[Entrant], workload: Workload) -> EntryRecord | None:
    """Why an entrant does not take part; None where it does."""
    for status, reason in ((records.UNFIT, kind.unfit(workload)), (records.SKIPPED, kind.missing())):
        if reason is not None:
            return EntryRecord(workload.name, kind.name, status, reason)
    return None


class Arena:
    """What all contestants of one workload share."""

    def __init__(
        self, workload: Workload, shelf: Path, directory: Path, settings: Settings, pool: Pool | None = None
    ) -> None:
        self.workload, self.shelf, self.directory, self.settings = workload, shelf, directory, settings
        self.path, self.pool = shelf / "workload", pool

    def child(self, name: str, stack: ExitStack, cache: Path | None = None) -> Child:
        """A process with threads and device of the workload, which ends with `stack` or with the pool."""
        extra = {} if cache is None else {"NUMBA_CACHE_DIR": str(cache), "TORCHINDUCTOR_CACHE_DIR": str(cache)}
        make = partial(Child, self.workload.threads, self.workload.device, self.directory / "entrants.log", extra)
        if self.pool is not None:
            return self.pool.child(name, make)
        child = make()
        stack.callback(child.close)
        return child

    def key(self, contestant: Contestant, dtype: str) -> str:
        """Under which a contestant on this workload is kept in its process."""
        return f"{self.workload.name} {contestant.label} {dtype}"

    def reference(self, say: Say) -> Reference:
        """The gradient that all must have."""
        if self.workload.method == "opt-disc":
            say(f"{self.workload.name}: continuous gradient")
            return agreement.continuous_reference(self.workload)
        from experiments.benchmarks.entrants import ENTRANTS

        say(f"{self.workload.name}: reference")
        with ExitStack() as stack:
            child = self.child("reference", stack)
            contestant = Contestant(ENTRANTS.load(REFERENCE))
            self.prepare(child, contestant, "float64")
            return self.ask_gradient(child, contestant, "float64")[0]

    def admit(
        self, contestant: Contestant, reference: Reference, stack: ExitStack
    ) -> tuple[EntryRecord, _Ready | None]:
        """Starts a contestant and compares its gradient; it stays up only where it computes the same."""
        entry = EntryRecord(self.workload.name, contestant.label, records.FAILED)
        cache = self._cache(contestant) if contestant.kind.caches else None
        child = self.child(contestant.label, stack, cache)
        try:
            first = self.prepare(child, contestant, self.workload.dtype)
            if self.workload.dtype != "float64":
                self.prepare(child, contestant, "float64")
            mine, counts, engine = self.ask_gradient(child, contestant, "float64")
            entry = replace(entry, **first, **self.compared(mine, reference), counts=counts, engine=engine)
            if self.workload.dtype != "float64":
                timed, *_ = self.ask_gradient(child, contestant, self.workload.dtype)
                entry = replace(entry, timed_error=_finite(agreement.difference(timed.gradient, reference.gradient)))
            if cache is not None and self.settings.caches:
                with ExitStack() as passing:
                    again = self.child(f"{contestant.label} again", passing, cache)
                    cached = self.prepare(again, contestant, self.workload.dtype)
                    entry = replace(entry, cached_seconds=cached["first_seconds"])
        except EntrantFailure as error:
            child.close()
            return replace(entry, reason=str(error)), None
        reason = self.objection(entry, mine, reference)
        if reason is not None:
            child.close()
            return replace(entry, status=records.REFUSED, reason=reason), None
        return replace(entry, status=records.TIMED), _Ready(
            contestant, child, self.key(contestant, self.workload.dtype)
        )

    def take_turns(self, ready: list[_Ready], stack: ExitStack, say: Say) -> dict[str, str]:
        """Everyone warms up, then all in turn, the first one another each round; who broke down on the way, and how."""
        broken: dict[str, str] = {}

        def attempt(work: Callable[[_Ready], None], mine: _Ready) -> None:
            if mine.contestant.label in broken:
                return
            try:
                work(mine)
            except EntrantFailure as error:
                broken[mine.contestant.label] = str(error)
                mine.child.close()
                say(f"{self.workload.name}: {mine.contestant.label} broke down: {error}")

        for mine in ready:
            say(f"{self.workload.name}: {mine.contestant.label}, warm-up")
            attempt(self._warm_up, mine)
        machine = None
        if self.settings.ceilings and ready:
            machine = self.child("machine", stack)
        for turn in range(self.settings.repeats):
            say(f"{self.workload.name}: turn {turn + 1} of {self.settings.repeats}")
            shift = turn % max(1, len(ready))
            for mine in ready[shift:] + ready[:shift]:
                attempt(partial(self._take_turn, turn=turn), mine)
            if machine is not None:
                self._measure_machine(machine, turn)
        return broken

    def _take_turn(self, mine: _Ready, turn: int) -> None:
        seconds = mine.child.ask("time", key=mine.key, calls=mine.calls)["seconds"]
        record = RepeatRecord(
            self.workload.name,
            mine.contestant.label,
            turn,
            mine.calls,
            median(seconds),
            fmean(seconds),
            load_average(),
        )
        append_line(path_of(self.directory, "repeats"), record)

    def _warm_up(self, mine: _Ready) -> None:
        spent, seconds = 0.0, [0.0]
        while spent < self.settings.block:
            seconds = mine.child.ask("time", key=mine.key, calls=mine.calls)["seconds"]
            spent += sum(seconds)
            estimate = max(median(seconds), 1e-6)
            mine.calls = min(MOST_CALLS, max(1, round(self.settings.block / estimate)))

    def _measure_machine(self, machine: Child, turn: int) -> None:
        work = work_of(self.workload)
        wanted: list[list[Any]] = [list(SQUARE)]
        if work is not None:
            wanted += [[p.m, p.k, p.n, p.layout] for p in work.products]
        rates = machine.ask(
            "ceilings",
            products=wanted,
            dtype=self.workload.dtype,
            threads=self.workload.threads,
            device=self.workload.device,
        )["rates"]
        for rate in rates:
            append_line(path_of(self.directory, "ceilings"), CeilingRecord(self.workload.name, turn, **rate))

    def prepare(self, child: Child, contestant: Contestant, dtype: str) -> dict[str, Any]:
        """Builds a contestant in its process, and lets it do its work once."""
        return child.ask(
            "prepare",
            key=self.key(contestant, dtype),
            module=contestant.kind.__module__,
            name=contestant.kind.__qualname__,
            variant=contestant.variant,
            workload=str(self.path),
            dtype=dtype,
        )

    def ask_gradient(self, child: Child, contestant: Contestant, dtype: str) -> tuple[Reference, dict[str, int], str]:
        """Loss, gradient and trained weights of a contestant that is prepared; counts, and pynode's engine."""
        key = self.key(contestant, dtype)
        path = str(self.shelf / f"answer-{contestant.label.replace(' ', '-')}.npy")
        answer = child.ask("gradient", key=key, path=path)
        gradient = np.load(path, allow_pickle=False)
        trained = None
        if self.workload.unit == "iteration":
            child.ask("train", key=key, path=path, iterations=agreement.ITERATIONS)
            trained = np.load(path, allow_pickle=False)
        return Reference(float(answer["loss"]), gradient, trained), answer["counts"], answer["engine"]

    def compared(self, mine: Reference, reference: Reference) -> dict[str, Any]:
        """How far a contestant is from the reference, in float64."""
        values: dict[str, Any] = {
            "loss": _finite(mine.loss),
            "gradient_error": _finite(agreement.difference(mine.gradient, reference.gradient)),
            "bound": agreement.bound(self.workload),
        }
        if mine.trained is not None and reference.trained is not None:
            start = self.workload.arrays["theta"]
            values["trained_error"] = _finite(agreement.difference(mine.trained - start, reference.trained - start))
        return values

    def objection(self, entry: EntryRecord, mine: Reference, reference: Reference) -> str | None:
        """Why this is not the same computation, as a sentence."""
        limit = agreement.bound(self.workload)
        timed = agreement.TIMED[self.workload.dtype]
        apart = agreement.difference(np.array([mine.loss]), np.array([reference.loss]))
        if not apart <= limit:
            return f"its loss is off by {apart:.1e}, allowed are {limit:.1e}"
        for what, error, most in (
            ("gradient", entry.gradient_error, limit),
            (
                f"gradient in {self.workload.dtype}",
                entry.timed_error if self.workload.dtype != "float64" else 0.0,
                timed,
            ),
            ("training", entry.trained_error if mine.trained is not None else 0.0, agreement.TRAINED),
        ):
            if error is None or not error <= most:
                shown = "not finite" if error is None else f"off by {error:.1e}"
                return f"its {what} is {shown}, allowed are {most:.1e}"
        return None

    def _cache(self, contestant: Contestant) -> Path:
        shelf = self.shelf if self.pool is None else self.pool.shelf
        path = shelf / "-".join(("cache", *contestant.label.split()))
        path.mkdir(exist_ok=True)
        return path


@contextmanager
def _shelf(workload: Workload) -> Iterator[Path]:
    """A temporary folder with the workload's numbers."""
    folder = Path(tempfile.mkdtemp(prefix="pynode-bench-"))
    try:
        workload.save(folder / "workload")
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def described(workload: Workload) -> WorkloadRecord:
    """The workload in short."""
    work = work_of(workload)
    return WorkloadRecord(
        name=workload.name,
        title=workload.title,
        unit=workload.unit,
        method=workload.method,
        dtype=workload.dtype,
        threads=workload.threads,
        device=workload.device,
        batch=workload.batch,
        n_stages=workload.n_stages,
        n_params=int(workload.arrays["theta"].size),
        axis=workload.axis,
        value=float(workload.value),
        module=workload.module,
        operations=None if work is None else work.operations,
        product_operations=None if work is None else work.product_operations,
        bytes=None if work is None else work.bytes,
        products=[] if work is None else [[*asdict(p).values(), count] for p, count in work.products.items()],
    )


def _finite(value: float) -> float | None:
    return value if np.isfinite(value) else None
