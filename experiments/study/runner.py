"""Runs the commands of the plan one after another, each in a process of its own, on an idle machine."""

from __future__ import annotations

import os
import shutil
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from experiments.study.check import commits_in, disturbed_runs
from experiments.study.plan import Part
from experiments.study.progress import LOGS, Done, done_in, forget_begun, note_begun, note_done, seconds_begun
from experiments.study.signals import INTERRUPTED, Signals, name_of
from pynode.cli.console import PlainConsole
from pynode.clock import load_average
from pynode.errors import InvalidArgument, RunFailure, Stopped, UsageError
from pynode.records.files import make_directory
from pynode.records.lock import lock
from pynode.studies.load import IDLE
from pynode.training.machine import environment

RUN = Path(__file__).resolve().parents[1] / "run.py"

READY = 1.15
"""Load average below which a command begins: what one process that has just ended leaves behind."""

PATIENCE = 900.0
"""Seconds to wait for that."""

TRIES = 3
"""How often a run is trained at most because other work disturbed it."""


class Runner:
    """Runs parts in `out`; `hours` after its start it begins no other command.

    Raises `InvalidArgument` for `hours` that are not positive.
    """

    def __init__(self, out: Path, data: Path | None, console: PlainConsole, *, hours: float | None = None) -> None:
        if hours is not None and not hours > 0:
            raise InvalidArgument("--hours", hours, "not a positive number", "use e.g. 2, or leave it out")
        self._out = out.absolute()
        self._data = None if data is None else data.absolute()
        self._console = console
        self._end = None if hours is None else time.monotonic() + 3600 * hours
        self._signals = Signals()

    def tell(self, parts: Sequence[Part]) -> None:
        """Says which commands are done and which would run, and which would not for want of data."""
        for part in parts:
            done = [d.command for d in done_in(self._out / part.name)]
            for command in part.commands:
                state = "done" if list(command) in done else "to do"
                self._console.say(f"{part.name:24} {state:6} {' '.join(command)}")
        for part in parts:
            try:
                part.words(self._out / part.name, self._data)
            except UsageError as error:  # as `run` would say
                self._console.say(f"warning: {error}")

    def run(self, parts: Sequence[Part]) -> None:
        """Runs what is not done; a part whose command fails is told, and the others go on.

        Raises `UsageError` before anything runs for code that is not committed, for another commit than that of the
        parts that are there, for missing data, and where another process runs a study there; `RunFailure` at the end if
        a part failed, and where the machine does not become idle; `Stopped` after SIGINT, SIGTERM or SIGHUP, when the
        command that ran has saved and ended.
        """
        commit = self._commit()
        for part in parts:
            part.words(self._out / part.name, self._data)
        with lock(make_directory(self._out)), self._signals:
            try:
                failures = [failure for part in parts if (failure := self._run_part(part, commit)) is not None]
            except Stopped as stopped:
                message = f"{stopped}; {self._standing(parts)}; run the same command again to continue"
                raise Stopped(message, stopped.exit_status) from None
        if failures:
            raise RunFailure(f"{len(failures)} of {len(parts)} parts failed: {'; '.join(failures)}")

    def _commit(self) -> str:
        git = environment()["git"]
        if git is None:
            raise UsageError("pynode does not run from a git checkout: the study's records must name their commit")
        if git["changed"]:
            raise UsageError(
                f"the code differs from commit {git['commit'][:9]}; commit the changes, then run the study"
            )
        for folder in sorted(self._out.glob("*/")):
            if others := sorted(commits_in(folder) - {git["commit"]}):
                raise UsageError(
                    f"--out {self._out}: {folder.name} was made by commit {others[0][:9]}, this is "
                    f"{git['commit'][:9]}; check out that commit, or choose another --out"
                )
        return str(git["commit"])

    def _standing(self, parts: Sequence[Part]) -> str:
        """How much of `parts` is done."""
        done = {part.name: [d.command for d in done_in(self._out / part.name)] for part in parts}
        states = [list(command) in done[part.name] for part in parts for command in part.commands]
        return f"{sum(states)} of {len(states)} commands are done"

    def _run_part(self, part: Part, commit: str) -> str | None:
        """Runs the commands of one part; gives a sentence if one of them failed, and then leaves out the rest.

        Raises `Stopped` after a signal.
        """
        directory = self._out / part.name
        done = done_in(directory)
        for command, words in zip(part.commands, part.words(directory, self._data), strict=True):
            if list(command) in [d.command for d in done]:
                continue
            if self._end is not None and time.monotonic() > self._end:
                self._console.say(f"{part.name}: left for later, the time is up")
                return None
            before = self._wait_until_idle()
            if self._signals.requested is not None:
                raise _stopped(f"before {part.name}", 128 + self._signals.requested)
            self._console.say(f"{part.name}: {' '.join(command)}")
            start, earlier = time.monotonic(), seconds_begun(self._out, part.name, command)
            status = self._run_command(part.name, directory, words)
            seconds = earlier + time.monotonic() - start
            if status != 0:
                note_begun(self._out, part.name, command, seconds)
                if status in INTERRUPTED:
                    raise _stopped(f"in {part.name}", status)
                failure = f"{part.name} ended with status {status} (see {self._log(part.name)})"
                self._console.say(failure)
                return failure
            done.append(Done(list(command), seconds, before, commit))
            note_done(directory, done)
            forget_begun(self._out, part.name, command)
            self._console.say(f"{part.name}: {seconds / 60:.1f} minutes")
        return None

    def _run_command(self, name: str, directory: Path, words: Sequence[str]) -> int:
        """Runs one command until no run of its own was disturbed, or `TRIES` times; its exit status."""
        status = 0
        for attempt in range(1, TRIES + 1):
            status = self._start(name, words, resume=directory.exists())
            disturbed = disturbed_runs(directory, words) if status == 0 else []
            if not disturbed:
                return status
            last = attempt == TRIES
            for folder in disturbed:
                next_step = f"kept after {TRIES} times, `study check` tells it" if last else "once more"
                self._console.say(f"{name}: {folder.name} ran at a load average above {IDLE}; {next_step}")
                if not last:
                    shutil.rmtree(folder)
            if not last:
                self._wait_until_idle()
        return status

    def _start(self, name: str, words: Sequence[str], *, resume: bool) -> int:
        """Runs one command in a process with one thread, its output in a log; its exit status."""
        resumed = ["--resume"] if resume and "--out" in words and "--resume" not in words else []
        make_directory(self._out / LOGS)
        with self._log(name).open("a", encoding="utf-8") as file:
            file.write(f"$ {' '.join([*words, *resumed])}\n")
            file.flush()
            return self._signals.run(
                [sys.executable, str(RUN), *words, *resumed],
                file,
                cwd=RUN.parents[1],
                env={**os.environ, "OMP_NUM_THREADS": "1"},
            )

    def _log(self, name: str) -> Path:
        return self._out / LOGS / f"{name}.txt"

    def _wait_until_idle(self) -> float | None:
        """Waits for other work to end, or for a signal; the load average then.

        Raises `RunFailure` where it does not end.
        """
        start, told = time.monotonic(), False
        while (load := load_average()) is not None and load > READY and self._signals.requested is None:
            if time.monotonic() - start > PATIENCE:
                raise RunFailure(
                    f"the load average has been above {READY} for {PATIENCE / 60:.0f} minutes (now {load:.2f}); "
                    "end other programs, then run the same command again"
                )
            if not told:
                told = True
                self._console.say(
                    f"the load average is {load:.2f}: waiting until it is at most {READY}, "
                    f"for {PATIENCE / 60:.0f} minutes at the longest"
                )
            time.sleep(5)
        return load


def _stopped(where: str, status: int) -> Stopped:
    """The error after a signal, with the exit status that shells give it."""
    return Stopped(f"stopped by {name_of(status)} {where}", status if status > 0 else 128 - status)
