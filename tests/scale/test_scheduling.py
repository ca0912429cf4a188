"""Schedules are legal, near the best possible, never hurt by more GPUs, and lose no work."""

from __future__ import annotations

import itertools
import random

import pytest

from experiments.scale.plan import NEAR, PER_NODE, Job, Schedule, list_schedule, lower_bound, one_each, schedule
from pynode.errors import InvalidArgument


def rigid(seconds: list[float]) -> list[Job]:
    """Jobs for one GPU each."""
    return [Job(f"job {k}", {1: s}) for k, s in enumerate(seconds)]


def mouldable(generator: random.Random, n: int) -> list[Job]:
    """Jobs that get faster on more GPUs, up to a point."""
    jobs = []
    for k in range(n):
        alone, part = generator.uniform(1, 20), generator.uniform(0, 0.6)
        times = {
            w: alone * (part + (1 - part) / w) + 0.05 * w for w in (1, 2, 4, 8) if w <= generator.choice((1, 4, 8))
        }
        jobs.append(Job(f"job {k}", {1: alone, **{w: s for w, s in times.items() if w > 1}}))
    return jobs


def best_makespan(jobs: list[Job], gpus: int) -> float:
    """The shortest schedule of jobs for one GPU each, by trying every assignment."""
    seconds = [job.seconds[1] for job in jobs]
    return min(
        max(sum(s for s, g in zip(seconds, where, strict=True) if g == gpu) for gpu in range(gpus))
        for where in itertools.product(range(gpus), repeat=len(jobs))
    )


def check(planned: Schedule, jobs: list[Job]) -> None:
    """Every job once, for its own time, on GPUs that nobody else has then."""
    assert sorted(p.job for p in planned.placements) == sorted(job.name for job in jobs)
    by_name = {job.name: job for job in jobs}
    for p in planned.placements:
        assert len(set(p.gpus)) == len(p.gpus)
        assert set(p.gpus) <= set(range(planned.gpus))
        assert len({gpu // PER_NODE for gpu in p.gpus}) == 1
        assert p.end - p.start == pytest.approx(by_name[p.job].seconds[len(p.gpus)])
    for gpu in range(planned.gpus):
        mine = sorted((p.start, p.end) for p in planned.placements if gpu in p.gpus)
        assert all(a[1] <= b[0] + 1e-9 for a, b in itertools.pairwise(mine))


@pytest.mark.parametrize("seed", range(15))
def test_longest_first_is_near_the_best_of_all(seed: int) -> None:
    generator = random.Random(seed)
    gpus = generator.choice((2, 3))
    jobs = rigid([generator.uniform(1, 10) for _ in range(7)])
    planned = schedule(jobs, gpus)
    check(planned, jobs)
    best = best_makespan(jobs, gpus)
    assert lower_bound(jobs, gpus) <= best + 1e-9
    # Graham 1969
    assert best - 1e-9 <= planned.makespan <= (4 / 3 - 1 / (3 * gpus)) * best + 1e-9


def test_by_hand() -> None:
    # the known worst case of longest first on two machines: 7 instead of 6
    planned = schedule(rigid([3, 3, 2, 2, 2]), 2)
    assert planned.makespan == 7
    assert best_makespan(rigid([3, 3, 2, 2, 2]), 2) == 6
    assert planned.busy == 12
    assert planned.utilisation == pytest.approx(12 / 14)


@pytest.mark.parametrize("seed", range(10))
def test_gangs_are_legal_and_more_gpus_never_take_longer(seed: int) -> None:
    jobs = mouldable(random.Random(seed), 12)
    before = float("inf")
    for gpus in range(1, 25):
        planned = schedule(jobs, gpus)
        check(planned, jobs)
        assert lower_bound(jobs, gpus) - 1e-9 <= planned.makespan <= (1 + NEAR) * before
        assert planned.makespan <= one_each(jobs, gpus).makespan
        before = min(before, planned.makespan)


def test_a_long_cell_takes_the_gpus_that_would_idle() -> None:
    jobs = [Job("long", {1: 8.0, 2: 4.5, 4: 3.0}), Job("short", {1: 3.0})]
    alone, two, five = (schedule(jobs, n) for n in (1, 2, 5))
    assert alone.makespan == 11
    # on two, wide costs more than it gains: 4.5 + 3 against 8 and 3 side by side
    assert two.makespan == 7.5
    assert five.makespan == 3.0
    assert {p.job: len(p.gpus) for p in five.placements} == {"long": 4, "short": 1}


def test_work_is_conserved_on_one_gpu_each() -> None:
    jobs = rigid([5, 4, 3, 3, 2.5])
    for gpus in (1, 2, 3, 8):
        assert schedule(jobs, gpus).busy == pytest.approx(17.5)
    assert schedule(jobs, 1).makespan == pytest.approx(17.5)


def test_widths_that_do_not_pay_are_not_taken() -> None:
    job = Job("a", {1: 5.0, 2: 5.5, 4: 4.0, 8: 4.0})
    assert job.widths(8) == [1, 4]
    assert job.widths(2) == [1]
    assert schedule([job], 2).busy == 5.0


def test_gangs_wait_for_the_last_of_their_gpus() -> None:
    jobs = [Job("wide", {1: 9.0, 2: 4.0}), Job("thin", {1: 5.0})]
    planned = list_schedule(jobs, [2, 1], 2)
    assert {p.job: (p.start, p.end) for p in planned.placements} == {"thin": (0, 5), "wide": (5, 9)}


def test_gangs_lie_inside_a_node() -> None:
    # three GPUs of the second node: a gang of four waits for the first one, which the short jobs fill
    jobs = [Job("wide", {1: 9.0, 4: 3.0}), *(Job(f"short {k}", {1: 5.0}) for k in range(8))]
    planned = list_schedule(jobs, [4, *[1] * 8], 11)
    check(planned, jobs)
    (wide,) = [p for p in planned.placements if p.job == "wide"]
    assert (set(wide.gpus) <= set(range(8)), wide.start) == (True, 5.0)
    assert Job("a", {1: 9.0, 8: 3.0, 16: 2.0}).widths(64) == [1, 8]


def test_more_gpus_than_cells_end_with_the_longest() -> None:
    planned = one_each(rigid([5, 3, 2]), 12)
    assert (planned.makespan, planned.busy) == (5, 10)


@pytest.mark.parametrize("seconds", [{2: 1.0}, {1: -1.0}, {0: 1.0, 1: 1.0}])
def test_a_job_must_run_on_one_gpu(seconds: dict[int, float]) -> None:
    with pytest.raises(InvalidArgument, match="job a"):
        Job("a", seconds)
