"""Cells on GPUs: longest first, and the longest ones on several GPUs where others would idle.

A cell takes a time that depends on how many GPUs it runs on, all at once and all of one node (gang scheduling).  Widths
are found as Turek, Wolf & Yu 1992 do: begin with every cell on one GPU, give the cell that is longest at present the
next width that shortens it, keep the best schedule seen.  Each schedule is a list schedule, longest first.  One within
`NEAR` of what none can beat is not bettered.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from pynode.errors import InvalidArgument

PER_NODE = 8
"""GPUs of one node; no gang is wider, and none lies on two nodes."""

NEAR = 0.01
"""Part of the lower bound."""

FINE = 64
"""Numbers of GPUs up to which every smaller number is tried too; of more, about so many."""

WIDENED = 100
"""Jobs up to which they are widened one at a time; of more, about so many groups."""


@dataclass(frozen=True)
class Job:
    """A cell: `seconds` by the number of GPUs it may run on, 1 among them."""

    name: str
    seconds: Mapping[int, float]

    def __post_init__(self) -> None:
        if 1 not in self.seconds or min(self.seconds) < 1 or min(self.seconds.values()) < 0:
            raise InvalidArgument("seconds", dict(self.seconds), f"job {self.name}", "give seconds for 1 GPU, or more")

    def widths(self, gpus: int) -> list[int]:
        """Numbers of GPUs, no more than `gpus` or a node has, that shorten the job, each against all smaller ones."""
        found: list[int] = []
        for width in sorted(w for w in self.seconds if w <= min(gpus, PER_NODE)):
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
    """Longest first, each on the GPUs of one node that are free earliest; a gang waits for the last of its GPUs."""
    order = sorted(range(len(jobs)), key=lambda k: (-jobs[k].seconds[widths[k]], -widths[k], jobs[k].name))
    free = np.full((-(-gpus // PER_NODE), PER_NODE), np.inf)  # (nodes, GPUs of a node); the last node may have fewer
    free.reshape(-1)[:gpus] = 0.0
    placements = []
    for k in order:
        width = widths[k]
        node = int(np.argmin(np.sort(free, axis=1)[:, width - 1]))
        chosen = np.argsort(free[node], kind="stable")[:width]
        start = float(free[node, chosen].max())
        end = start + jobs[k].seconds[width]
        free[node, chosen] = end
        placements.append(Placement(jobs[k].name, tuple(sorted((PER_NODE * node + chosen).tolist())), start, end))
    return Schedule(gpus, tuple(placements))


def one_each(jobs: Sequence[Job], gpus: int) -> Schedule:
    """Every job on one GPU, longest first."""
    return list_schedule(jobs, [1] * len(jobs), gpus)


def schedule(jobs: Sequence[Job], gpus: int) -> Schedule:
    """The best schedule found on up to `gpus` GPUs, of which some may stay unused: up to `FINE`, more never take longer
    by more than `NEAR`."""
    best: Schedule | None = None
    for used in range(gpus, 0, -max(1, gpus // FINE)):
        if best is not None and lower_bound(jobs, used) >= best.makespan / (1 + NEAR):
            break  # nor can fewer
        found = _widened(jobs, used)
        if best is None or found.makespan < best.makespan:
            best = Schedule(gpus, found.placements)
    assert best is not None
    return best


def _widened(jobs: Sequence[Job], gpus: int) -> Schedule:
    widths = [1] * len(jobs)
    wider = [dict(pairwise(job.widths(gpus))) for job in jobs]
    best = one_each(jobs, gpus)
    enough = (1 + NEAR) * lower_bound(jobs, gpus)
    while jobs and best.makespan > enough:
        longest = sorted(range(len(jobs)), key=lambda k: -jobs[k].seconds[widths[k]])
        if widths[longest[0]] not in wider[longest[0]]:
            break  # nothing can end before the longest job
        for k in longest[: max(1, len(jobs) // WIDENED)]:
            widths[k] = wider[k].get(widths[k], widths[k])
        found = list_schedule(jobs, widths, gpus)
        if found.makespan < best.makespan:
            best = found
    return best
