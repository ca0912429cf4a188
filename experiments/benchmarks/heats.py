"""Many workloads within a time limit: entrants prepare side by side, then all take turns, workload by workload.

Every entrant has one process for all of its workloads, since starting one with a GPU takes seconds.  Records are
written as soon as they are known.  Where a process ends, or does not answer in time, its entrant loses the workloads on
which it has not been timed yet; no other entrant loses any.
"""

from __future__ import annotations

import shutil
import tempfile
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait
from concurrent.futures import TimeoutError as TooLate
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from pathlib import Path
from statistics import fmean, median
from typing import Any

from experiments.benchmarks import agreement, records
from experiments.benchmarks.agreement import Reference
from experiments.benchmarks.entrants import ENTRANTS
from experiments.benchmarks.entrants.base import Entrant, precision_of
from experiments.benchmarks.entrants.of_pynode import RECOMPUTE
from experiments.benchmarks.limits import measure_limits
from experiments.benchmarks.process import Child, EntrantFailure
from experiments.benchmarks.race import MOST_CALLS, REFERENCE, Arena, Contestant, Say, Settings, absent, described
from experiments.benchmarks.records import EntryRecord, RepeatRecord, path_of
from experiments.benchmarks.workload import Workload, first_rows
from pynode.clock import load_average
from pynode.records.files import append_line, finite
from pynode.wording import counted

COMPARED_ROWS = 256
"""Samples of a batch on which gradients are compared in float64: a whole batch in float64 would fill the GPU."""

PREPARING = 0.6
"""Share of the time limit in which entrants must be prepared."""

CELL = 75.0
"""Seconds in which an entrant must answer one request."""

EVERY = 6
"""Turns between measurements of the machine's limits."""


@dataclass
class Field:
    """One workload on its whole batch and on the few rows that are compared in float64, and the references of both."""

    whole: Arena
    part: Arena
    reference: Future[tuple[Reference, Reference]] = field(default_factory=Future)

    @property
    def workload(self) -> Workload:
        """The workload that is timed."""
        return self.whole.workload


@dataclass
class Ready:
    """A contestant that is prepared for a workload, its entry, units of work in a turn, and turns that it has had."""

    field: Field
    contestant: Contestant
    child: Child
    entry: EntryRecord
    calls: int = 1
    turns: int = 0

    @property
    def key(self) -> str:
        """Under which its process knows it."""
        return self.field.whole.key(self.contestant, self.field.workload.dtype)

    @property
    def name(self) -> str:
        """Workload and contestant, for messages."""
        return f"{self.field.workload.name}: {self.contestant.label}"


class Heats:
    """All entrants on all workloads, within `seconds`; records go to the files in `directory`."""

    def __init__(self, settings: Settings, directory: Path, say: Say, seconds: float) -> None:
        self.settings, self.directory, self.say = settings, directory, say
        self.start, self.seconds = time.monotonic(), seconds
        self.ready: list[Ready] = []
        self._entries: dict[tuple[str, str], EntryRecord] = {}
        self._lock = threading.Lock()

    def run(self, workloads: Sequence[Workload], kinds: Sequence[type[Entrant]]) -> list[EntryRecord]:
        """Measures; returns what became of the entrants."""
        shelf = Path(tempfile.mkdtemp(prefix="pynode-bench-"))
        with ExitStack() as stack:
            stack.callback(shutil.rmtree, shelf, ignore_errors=True)
            fields = [self._field(workload, shelf) for workload in workloads]
            machine = self._child(workloads[0], "machine", stack)
            with ThreadPoolExecutor(len(kinds) + 1) as threads:
                jobs = [threads.submit(self._references, machine, fields)]
                jobs += [threads.submit(self._prepare_all, kind, fields, stack) for kind in kinds]
                wait(jobs)
            for job in jobs:
                job.result()
            self._take_turns(fields, machine, stack)
        return list(self._entries.values())

    def left(self, share: float = 1.0) -> float:
        """Seconds until `share` of the limit is over, at least one tenth."""
        return max(0.1, self.start + share * self.seconds - time.monotonic())

    def _field(self, workload: Workload, shelf: Path) -> Field:
        """Records a workload and writes its numbers to files that processes read."""
        self._append("workloads", described(workload))
        arenas = []
        for name, one in (("whole", workload), ("part", first_rows(workload, COMPARED_ROWS))):
            folder = shelf / f"{workload.name}-{name}"
            folder.mkdir()
            one.save(folder / "workload")
            arenas.append(Arena(one, folder, self.directory, self.settings))
        return Field(arenas[0], arenas[1])

    def _child(self, workload: Workload, name: str, stack: ExitStack) -> Child:
        """A process with a log of its own that may use all cores, and ends with `stack`."""
        child = Child(workload.threads, workload.device, self.directory / f"entrants-{name}.log", pinned=False)
        stack.callback(child.close)
        return child

    def _append(self, kind: str, record: Any) -> None:
        with self._lock:
            append_line(path_of(self.directory, kind), record)

    # --- before the clock ---------------------------------------------------------------------------------------------

    def _references(self, child: Child, fields: Sequence[Field]) -> None:
        """Computes the gradients that all are compared with, in float64: on the few rows, and on the whole batch."""
        for one in fields:
            try:
                few = self._reference(child, one.part)
                is_whole = one.part.workload.batch == one.workload.batch
                one.reference.set_result((few, few if is_whole else self._reference(child, one.whole)))
            except Exception as error:  # told to everyone who waits for it
                one.reference.set_exception(error)

    def _reference(self, child: Child, arena: Arena) -> Reference:
        if arena.workload.method == "opt-disc":
            return agreement.continuous_reference(arena.workload)
        contestant = Contestant(ENTRANTS.load(REFERENCE), RECOMPUTE)
        child.until = time.monotonic() + self.left(PREPARING)
        arena.prepare(child, contestant, "float64")
        reference, *_ = arena.ask_gradient(child, contestant, "float64")
        child.ask("forget", key=arena.key(contestant, "float64"))
        return reference

    def _prepare_all(self, kind: type[Entrant], fields: Sequence[Field], stack: ExitStack) -> None:
        """All workloads of one entrant, in its process; a new one follows one that broke down."""
        child: Child | None = None
        for one in fields:
            if (missing := absent(kind, one.workload)) is not None:
                self._enter(missing)
                continue
            for variant in kind.variants(one.workload):
                contestant = Contestant(kind, variant)
                if self.left(PREPARING) <= 1:
                    reason = f"the time limit of {self.seconds:.0f} s left no time to prepare it"
                    self._enter(EntryRecord(one.workload.name, contestant.label, records.SKIPPED, reason))
                    continue
                if child is None or child.closed:
                    child = self._child(one.workload, kind.name, stack)
                self.say(f"{one.workload.name}: {contestant.label}, gradient")
                self._enter(self._prepare(one, contestant, child))

    def _enter(self, entry: EntryRecord) -> None:
        """Records what became of an entrant, in the place of what was known before."""
        self._entries[entry.workload, entry.entrant] = entry
        self._append("entries", entry)

    def _prepare(self, one: Field, contestant: Contestant, child: Child) -> EntryRecord:
        """Compares a contestant with the references; it is ready where it computes the same."""
        workload = one.workload
        entry = EntryRecord(workload.name, contestant.label, records.FAILED)
        child.patience, child.until = CELL, time.monotonic() + self.left(PREPARING)
        try:
            first = one.whole.prepare(child, contestant, workload.dtype)
            mine, counts, engine = one.whole.ask_gradient(child, contestant, workload.dtype)
            entry = replace(entry, **first, counts=counts, engine=engine, loss=finite(mine.loss))
            entry = replace(
                entry, peak_bytes=child.ask("memory", key=one.whole.key(contestant, workload.dtype))["bytes"]
            )
            part, whole = one.reference.result(self.left(PREPARING))
            entry = replace(entry, timed_error=finite(agreement.difference(mine.gradient, whole.gradient)))
            reason = _reduced_objection(workload, contestant, entry)
            if reason is None and _compares_in_double(contestant):
                double, reason = self._in_double(one, contestant, child, part, mine)
                entry = replace(entry, **double)
        except TooLate:
            return replace(entry, reason="no reference within the time limit")
        except EntrantFailure as error:
            return replace(entry, reason=str(error))
        except Exception as error:  # of a reference, or of an answer that nobody has thought of: the others go on
            return replace(entry, reason=f"{type(error).__name__}: {error}")
        if reason is not None:
            return replace(entry, status=records.REFUSED, reason=reason)
        entry = replace(entry, status=records.PREPARED)
        with self._lock:
            self.ready.append(Ready(one, contestant, child, entry))
        return entry

    def _in_double(
        self, one: Field, contestant: Contestant, child: Child, reference: Reference, timed: Reference
    ) -> tuple[dict[str, Any], str | None]:
        """Errors in float64 on few rows, for the entry, and the objection to them.

        A workload in float64, which is a series, is compared by the numbers that are `timed`.
        """
        arena, mine = one.part, timed
        if one.workload.dtype != "float64":
            arena.prepare(child, contestant, "float64")
            mine, *_ = arena.ask_gradient(child, contestant, "float64")
            child.ask("forget", key=arena.key(contestant, "float64"))
        compared = {k: v for k, v in arena.compared(mine, reference).items() if k != "loss"}
        entry = EntryRecord(one.workload.name, contestant.label, records.PREPARED, **compared, timed_error=0.0)
        return compared, arena.objection(entry, mine, reference)

    # --- turns --------------------------------------------------------------------------------------------------------

    def _take_turns(self, fields: Sequence[Field], machine: Child, stack: ExitStack) -> None:
        """Rounds of all workloads until the time is over; a round is everyone's turn on each of them."""
        for mine in list(self.ready):
            self.say(f"{mine.name}, warm-up")
            self._attempt(self._warm_up, mine)
        self._take_rounds(fields, machine, stack)
        for mine in self.ready:
            if not mine.turns:
                reason = f"the time limit of {self.seconds:.0f} s left no time for a turn"
                self._enter(replace(mine.entry, status=records.SKIPPED, reason=reason))

    def _take_rounds(self, fields: Sequence[Field], machine: Child, stack: ExitStack) -> None:
        for turn in range(self.settings.repeats):
            if machine.closed:
                machine = self._child(fields[0].workload, "machine", stack)
            if self.settings.ceilings and turn % EVERY == 0:
                self._measure_machine(fields, machine, turn)
            for one in fields:
                there = [ready for ready in self.ready if ready.field is one]
                shift = turn % max(1, len(there))
                for ready in there[shift:] + there[:shift]:
                    if self.left() < 2:
                        return
                    self.say(f"{one.workload.name}: turn {turn + 1} of {self.settings.repeats}")
                    self._attempt(self._turn_of(turn), ready)

    def _attempt(self, work: Callable[[Ready], None], mine: Ready) -> None:
        """Does what may break down; where it does, the contestant takes no more turns on this workload.

        Turns that it has taken before count where its process had ended already, by itself or in another workload, and
        where it was ended because the time is over.
        """
        ended = mine.child.end() if mine.child.closed else None
        try:
            if ended is not None:
                raise EntrantFailure(ended)
            mine.child.until = time.monotonic() + self.left()
            work(mine)
        except EntrantFailure as error:
            self.say(f"{mine.name} broke down: {error}")
            is_late = mine.child.closed and self.left() < 1
            if is_late and not mine.turns:
                return  # it is told that there was no time
            self.ready.remove(mine)
            counts = mine.turns > 0 and (ended is not None or is_late)
            reason = f"{counted(mine.turns, 'turn')}, then {error}" if counts else str(error)
            self._enter(replace(mine.entry, status=records.TIMED if counts else records.FAILED, reason=reason))

    def _warm_up(self, mine: Ready) -> None:
        """Finds how many units fill a turn."""
        for _ in range(2):
            seconds = median(mine.child.ask("time", key=mine.key, calls=mine.calls)["seconds"])
            mine.calls = min(MOST_CALLS, max(1, round(self.settings.block / max(seconds, 1e-6))))

    def _turn_of(self, turn: int) -> Callable[[Ready], None]:
        def take(mine: Ready) -> None:
            seconds = mine.child.ask("time", key=mine.key, calls=mine.calls)["seconds"]
            values = (median(seconds), fmean(seconds), load_average())
            name, label = mine.field.workload.name, mine.contestant.label
            self._append("repeats", RepeatRecord(name, label, turn, mine.calls, *values))
            mine.turns += 1
            if mine.turns == 1:
                self._enter(replace(mine.entry, status=records.TIMED))

        return take

    def _measure_machine(self, fields: Sequence[Field], machine: Child, turn: int) -> None:
        """The machine's limits for every workload, as far as time allows."""
        for one in fields:
            if self.left() < 0.1 * self.seconds:
                return
            machine.until = time.monotonic() + self.left()
            try:
                for record in measure_limits(machine, one.workload, turn):
                    self._append("ceilings", record)
            except EntrantFailure as error:
                self.say(f"{one.workload.name}: limits of the machine: {error}")
                return


def _compares_in_double(contestant: Contestant) -> bool:
    """Whether it is compared in float64: in full precision, and without compiling for long once more."""
    return precision_of(contestant.variant) == "full" and not contestant.kind.slow_to_compile


def _reduced_objection(workload: Workload, contestant: Contestant, entry: EntryRecord) -> str | None:
    """Why the gradient in the type that is timed is too far from the reference, as a sentence; None where it is not."""
    precision = precision_of(contestant.variant)
    exact = agreement.bound(workload) if workload.dtype == "float64" else agreement.TIMED[workload.dtype]
    most = exact * agreement.REDUCED[precision]
    if entry.timed_error is not None and entry.timed_error <= most:
        return None
    shown = "not finite" if entry.timed_error is None else f"off by {entry.timed_error:.1e}"
    return f"its gradient in {workload.dtype} ({precision}) is {shown}, allowed are {most:.1e}"
