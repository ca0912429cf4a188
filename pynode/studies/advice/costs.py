"""Times, memory and trials of the settings that may be recommended."""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Hashable
from dataclasses import replace

from pynode.clock import Clock
from pynode.errors import EngineUnavailable, InvalidArgument, SolveError
from pynode.methods.base import GradientMethod
from pynode.records.files import finite
from pynode.studies.advice.measure import memory_of, work_of
from pynode.studies.advice.measurements import AIMS, Measurements
from pynode.studies.advice.record import REHEARSED
from pynode.studies.advice.settings import Setting, cost
from pynode.studies.advice.timing import FEWEST, race
from pynode.studies.advice.trial import judge_of, train
from pynode.studies.gradients.record import UNTRAINED

MOST_OF_EACH, MOST_TRIED = 3, 6
"""Settings of each method that are timed for each aim, and settings that are tried."""

DEARER = 2.5
"""Settings that take so many times the evaluations of the cheapest for an aim are not timed."""

ENOUGH_PASSED, FEWEST_ITERATIONS, FACTOR = 3, 10, 1.3
"""Trials that may pass, iterations of one at least, and how much longer an iteration takes than its gradient."""


def worth_timing(known: Measurements, lean: Collection[GradientMethod]) -> list[Setting]:
    """Settings that may be the best for some purpose, the likeliest first.

    Those near the fewest evaluations of each method for each aim, and those that are of interest for their memory or
    engine (`lean`).
    """
    at_home = known.settings_at_home()
    ranked: dict[int, list[Setting]] = {}
    for number in range(len(AIMS)):
        for discrete in (True, False):
            able = [s for s in at_home if s.is_discrete is discrete and not s.drifts and known.aims_met(s)[number]]
            able.sort(key=lambda s: s.records[-1].evaluations)
            for rank, s in enumerate(able[:MOST_OF_EACH]):
                if s.evaluations <= DEARER * able[0].evaluations:
                    ranked.setdefault(rank, []).append(s)
    spare = [s for s in at_home if known.methods[s.first.key] in lean]
    order = [*ranked.pop(0, []), *spare[:2], *(s for rank in sorted(ranked) for s in ranked[rank]), *spare[2:]]
    return list({s.first.key: s for s in order}.values())


def time_settings(known: Measurements, settings: Collection[Setting]) -> None:
    """Times settings in rounds at the last weights, and then measures their memory."""
    known.listener("timing")
    posed, taken, most = known.subject.timed, 0.0, 0.4 * known.left
    works: dict[str, Callable[[], object]] = {}
    groups: dict[str, Hashable] = {}
    for setting in settings:
        key = setting.first.key
        work = work_of(posed, known.methods[key])
        try:
            work()  # compiles, and shows whether it runs on this batch and in this precision
            began = time.perf_counter()
            work()
        except SolveError as error:
            known.update(key, failure=str(error))
            continue
        except (EngineUnavailable, InvalidArgument) as error:
            known.not_measured(known.methods[key], error)
            continue
        taken += FEWEST * (time.perf_counter() - began)
        works[key], groups[key] = work, known.aims_met(setting)
        if taken > most and len(works) > 1:
            known.note("Not all that may be worth it was timed: --budget sets the time for advice.")
            break
    if not works:
        return
    rounds = race(works, Clock(posed.device), max(0.5, 0.35 * known.left), groups)
    for key, raced in rounds.raced.items():
        known.update(
            key,
            seconds=raced.seconds,
            scatter=raced.scatter,
            repeats=raced.repeats,
            ratio=raced.ratio,
            ratio_scatter=raced.ratio_scatter,
        )
    for name, w in known.weights.items():
        known.weights[name] = replace(w, load=rounds.load)
    known.listener("memory")
    until = time.perf_counter() + 0.3 * known.left
    for number, key in enumerate(works):
        if number >= MOST_OF_EACH and time.perf_counter() > until:
            break
        known.update(key, memory_bytes=memory_of(posed, known.methods[key]))


def try_settings(known: Measurements) -> None:
    """Trains a few steps by the fastest settings that will do, to see that they fall like the accurate one."""
    practice, accurate = known.subject.practice, known.rehearsal
    if practice is None or accurate is None or accurate.failed:
        return
    able = [s for s in known.settings() if s.seconds is not None and s.refused(trial=False) is None]
    able = sorted(able, key=cost)[:MOST_TRIED]
    if not able:
        return
    judge = judge_of(known.subject.exact, known.references[REHEARSED].method)
    one = FACTOR * sum(s.seconds or 0.0 for s in able) / len(able)
    iterations = int(min(accurate.iterations, 0.8 * known.left / (one * min(ENOUGH_PASSED, len(able)))))
    if iterations < FEWEST_ITERATIONS:
        return
    reached = finite(accurate.reached(iterations, judge))
    known.weights[UNTRAINED] = replace(known.weights[UNTRAINED], trial_loss=reached)
    passed = 0
    for setting in able:
        if passed and known.left < one * iterations:
            break
        known.listener(f"trial of {setting.label}")
        key, seconds = setting.first.key, max(3 * one * iterations, 2.0)
        method, start = known.methods[key], known.thetas[UNTRAINED]
        try:
            trained = train(practice, method, start, seconds=seconds, iterations=iterations)
        except (EngineUnavailable, InvalidArgument) as error:
            known.not_measured(method, error)
            continue
        if trained.iterations < iterations and not trained.failed:
            continue  # the time ended it
        known.update(key, iterations=iterations, reached=finite(trained.reached(iterations, judge)))
        passed += any(s.passed_trial for s in known.settings() if s.first.key == key)
        if passed >= ENOUGH_PASSED:
            break
    known.subject.set(known.thetas[known.home])
