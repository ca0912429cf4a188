"""Cells on GPUs: longest first, and the longest ones on several GPUs where others would idle.

A cell takes a time that depends on how many GPUs it runs on (all at once: gang scheduling).  Widths are found as Turek,
Wolf & Yu 1992 do: begin with every cell on one GPU, give the cell that is longest at present the next width that
shortens it, keep the best schedule seen.  Each schedule is a list schedule, longest first.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise

from pynode.errors import InvalidArgument


@dataclass(frozen=True)
class Job:
    """A cell: `seconds` by the number of GPUs it may run on, 1 among them."""

    name: str
    seconds: Mapping[int, float]

    def __post_init__(self) -> None:
        if 1 not in self.seconds or min(self.seconds) < 1 or min(self.seconds.values()) < 0:
            raise InvalidArgument("seconds", dict(self.seconds), f"job {self.name}", "give seconds for 1 GPU, or more")

    def widths(self, gpus: int) -> list[int]:
        """Numbers of GPUs, no more than `gpus`, that shorten the job, each against all smaller ones."""
        found: list[int] = []
        for width in sorted(w for w in self.seconds if w <= gpus):
            if not found or self.seconds[width] < self.seconds[found[-1]]:
                found.append(width)
        return found


@dataclass(frozen=True)
class Placement:
    """A job on GPUs from `start` to `end`, in seconds."""

    job: str
    gpus: tuple[int, ...]
    start: float
    end: float


@dataclass(frozen=True)
class Schedule:
    """Placements of all jobs on `gpus` GPUs."""

    gpus: int
    placements: tuple[Placement, ...]

    @property
    def makespan(self) -> float:
        """When the last job ends."""
        return max((p.end for p in self.placements), default=0.0)

    @property
    def busy(self) -> float:
        """GPU seconds that some job fills."""
        return sum((p.end - p.start) * len(p.gpus) for p in self.placements)

    @property
    def utilisation(self) -> float:
        """Busy part of all GPU seconds until the end."""
        return self.busy / (self.gpus * self.makespan) if self.makespan else 0.0


def lower_bound(jobs: Sequence[Job], gpus: int) -> float:
    """No schedule ends sooner: the least GPU seconds over all GPUs, or the longest job at its fastest."""
    if not jobs:
        return 0.0
    least = sum(min(width * job.seconds[width] for width in job.widths(gpus)) for job in jobs)
    return max(least / gpus, max(min(job.seconds[width] for width in job.widths(gpus)) for job in jobs))


def list_schedule(jobs: Sequence[Job], widths: Sequence[int], gpus: int) -> Schedule:
    """Longest first, each on the GPUs that are free earliest; a gang waits for the last of its GPUs."""
    order = sorted(range(len(jobs)), key=lambda k: (-jobs[k].seconds[widths[k]], -widths[k], jobs[k].name))
    free = [0.0] * gpus
    placements = []
    for k in order:
        chosen = sorted(range(gpus), key=lambda g: (free[g], g))[: widths[k]]
        start = max(free[g] for g in chosen)
        end = start + jobs[k].seconds[widths[k]]
        for g in chosen:
            free[g] = end
        placements.append(Placement(jobs[k].name, tuple(sorted(chosen)), start, end))
    return Schedule(gpus, tuple(placements))


def schedule(jobs: Sequence[Job], gpus: int) -> Schedule:
    """The best schedule found on up to `gpus` GPUs: more GPUs never take longer, since some may stay unused."""
    best: Schedule | None = None
    for used in range(gpus, 0, -1):
        if best is not None and lower_bound(jobs, used) >= best.makespan:
            continue
        found = _widened(jobs, used)
        if best is None or found.makespan < best.makespan:
            best = Schedule(gpus, found.placements)
    assert best is not None
    return best


def _widened(jobs: Sequence[Job], gpus: int) -> Schedule:
    widths = [1] * len(jobs)
    wider = [dict(pairwise(job.widths(gpus))) for job in jobs]
    best = list_schedule(jobs, widths, gpus)
    while jobs:
        longest = max(range(len(jobs)), key=lambda k: jobs[k].seconds[widths[k]])
        if widths[longest] not in wider[longest]:
            break  # nothing can end before the longest job
        widths[longest] = wider[longest][widths[longest]]
        found = list_schedule(jobs, widths, gpus)
        if found.makespan < best.makespan:
            best = found
    return best
