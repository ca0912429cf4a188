"""Runs the commands of the plan one after another, each in a process of its own, on an idle machine."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from experiments.study.check import IDLE, disturbed_runs
from experiments.study.plan import Part
from experiments.study.progress import Done, done_in, note_done
from pynode.cli.console import PlainConsole
from pynode.clock import load_average
from pynode.errors import RunFailure, Stopped, UsageError
from pynode.records.files import make_directory
from pynode.training.machine import environment

RUN = Path(__file__).resolve().parents[1] / "run.py"

READY = 1.15
"""Load average below which a command begins: what one process that has just ended leaves behind."""

PATIENCE = 900.0
"""Seconds to wait for that."""

TRIES = 3
"""How often a run is trained at most because other work disturbed it."""

LOGS = "logs"


class Runner:
    """Runs parts in `out`; `hours` after its start it begins no other command."""

    def __init__(self, out: Path, data: Path | None, console: PlainConsole, *, hours: float | None = None) -> None:
        self._out = out.absolute()
        self._data = None if data is None else data.absolute()
        self._console = console
        self._end = None if hours is None else time.monotonic() + 3600 * hours

    def tell(self, parts: Sequence[Part]) -> None:
        """Says which commands are done and which would run."""
        for part in parts:
            done = [d.command for d in done_in(self._out / part.name)]
            for command in part.commands:
                state = "done" if list(command) in done else "to do"
                self._console.say(f"{part.name:24} {state:6} {' '.join(command)}")

    def run(self, parts: Sequence[Part]) -> None:
        """Runs what is not done; a part whose command fails is told, and the others go on.

        Raises `UsageError` before anything runs for code that is not committed, for another commit than that of the
        parts that are there, and for missing data; `RunFailure` at the end if a part failed, and where the machine does
        not become idle.
        """
        commit = self._commit()
        for part in parts:
            part.words(self._out / part.name, self._data)
        failures = [failure for part in parts if (failure := self._run_part(part, commit)) is not None]
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
            for done in done_in(folder):
                if done.commit != git["commit"]:
                    raise UsageError(
                        f"--out {self._out}: {folder.name} was made by commit {done.commit[:9]}, this is "
                        f"{git['commit'][:9]}; check out that commit, or choose another --out"
                    )
        return str(git["commit"])

    def _run_part(self, part: Part, commit: str) -> str | None:
        """Runs the commands of one part; gives a sentence if one of them failed, and then leaves out the rest."""
        directory = self._out / part.name
        done = done_in(directory)
        for command, words in zip(part.commands, part.words(directory, self._data), strict=True):
            if list(command) in [d.command for d in done]:
                continue
            if self._end is not None and time.monotonic() > self._end:
                self._console.say(f"{part.name}: left for later, the time is up")
                return None
            before = self._wait_until_idle()
            self._console.say(f"{part.name}: {' '.join(command)}")
            start = time.monotonic()
            if (status := self._run_command(part.name, directory, words)) != 0:
                log = self._out / LOGS / f"{part.name}.txt"
                return f"{part.name} ended with status {status} (see {log})"
            seconds = time.monotonic() - start
            done.append(Done(list(command), seconds, before, commit))
            note_done(directory, done)
            self._console.say(f"{part.name}: {seconds / 60:.1f} minutes")
        return None

    def _run_command(self, name: str, directory: Path, words: Sequence[str]) -> int:
        """Runs one command until no run of it was disturbed; its exit status."""
        status = 0
        for _ in range(TRIES):
            status = self._start(name, words, resume=directory.exists())
            disturbed = disturbed_runs(directory)
            if status != 0 or not disturbed:
                return status
            for folder in disturbed:
                self._console.say(f"{name}: {folder.name} ran at a load average above {IDLE}; once more")
                shutil.rmtree(folder)
            self._wait_until_idle()
        return self._start(name, words, resume=True)  # `check` tells what is disturbed still

    def _start(self, name: str, words: Sequence[str], *, resume: bool) -> int:
        """Runs one command in a process with one thread, its output in a log; raises `Stopped` after Ctrl-C."""
        resumed = ["--resume"] if resume and "--out" in words and "--resume" not in words else []
        log = make_directory(self._out / LOGS) / f"{name}.txt"
        with log.open("a", encoding="utf-8") as file:
            file.write(f"$ {' '.join([*words, *resumed])}\n")
            file.flush()
            try:
                status = subprocess.run(
                    [sys.executable, str(RUN), *words, *resumed],
                    stdin=subprocess.DEVNULL,
                    stdout=file,
                    stderr=subprocess.STDOUT,
                    cwd=RUN.parents[1],
                    env={**os.environ, "OMP_NUM_THREADS": "1"},
                    check=False,
                ).returncode
            except KeyboardInterrupt:  # the command heard it as well, and has saved
                raise Stopped(f"interrupted in {name}; the same command goes on there", 130) from None
        if status in (130, 143, 129):
            raise Stopped(f"interrupted in {name}; the same command goes on there", status)
        return status

    def _wait_until_idle(self) -> float | None:
        """Waits for other work to end; the load average then.  Raises `RunFailure` where it does not end."""
        start = time.monotonic()
        while (load := load_average()) is not None and load > READY:
            if time.monotonic() - start > PATIENCE:
                raise RunFailure(
                    f"the load average has been above {READY} for {PATIENCE / 60:.0f} minutes (now {load:.2f}); "
                    "end other programs, then run the same command again"
                )
            time.sleep(5)
        return load
