"""Measures what advice needs, within a budget of seconds: reference, search, times, memory, trials."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import Any

from torch import Tensor

from pynode.clock import Clock, load_average
from pynode.errors import EngineUnavailable, InvalidArgument, SolveError
from pynode.methods.base import GradientMethod, method_from_json
from pynode.methods.disc_opt import DiscOpt
from pynode.records.files import finite
from pynode.schemes.rk4 import RK4
from pynode.studies.advice.families import (
    Family,
    first_families,
    in_julia,
    on_other_engines,
    variants,
    with_less_memory,
)
from pynode.studies.advice.measure import empty_record, measured, memory_of, work_of
from pynode.studies.advice.record import REHEARSED, AdviceRecord, AdviceWeights
from pynode.studies.advice.reference import Reference, accurate
from pynode.studies.advice.search import Aim, Ladder, Outcome, bias_below, error_below
from pynode.studies.advice.settings import COARSE, SHARE, Fit, Setting, cost, settings_of
from pynode.studies.advice.subject import Subject
from pynode.studies.advice.timing import FEWEST, race
from pynode.studies.advice.trial import judge_of, train
from pynode.studies.gradients.record import UNTRAINED

ENOUGH = 1e-3
"""The gradient's error of the setting that a rehearsal is done by."""

CLOSE_TO_FIT = 0.02
"""How far the loss of that setting may be off after it, as a share of the fit."""

AIMS: tuple[Aim, ...] = (bias_below(SHARE, COARSE), error_below(1e-2), error_below(1e-4))
"""What settings are searched for, the easiest first."""

DEARER = 4.0
"""A family is given up where a setting costs so many times what another one does that meets every aim."""

MOST_OF_EACH, MOST_TRIED = 3, 6

Listener = Callable[[str], None]


class OutOfTime(Exception):
    """A part of the work has taken what time it was given."""


@dataclass
class Adviser:
    """Advice in the making: records by weights and setting, and the references there."""

    subject: Subject
    budget: float
    listener: Listener = lambda text: None  # noqa: ARG005
    records: dict[tuple[str, str], AdviceRecord] = field(default_factory=dict)
    weights: dict[str, AdviceWeights] = field(default_factory=dict)
    references: dict[str, Reference] = field(default_factory=dict)
    thetas: dict[str, Tensor] = field(default_factory=dict)
    methods: dict[str, GradientMethod] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)
    _ladders: dict[str, Ladder[GradientMethod]] = field(default_factory=dict)
    _lean: list[GradientMethod] = field(default_factory=list)
    """Settings that are of interest for their memory or their engine, whatever they cost."""

    def run(self) -> None:
        """Measures everything; the parameters are then as they were."""
        self.began = time.perf_counter()
        self.deadline = math.inf
        start = self.subject.exact.theta()
        self.thetas[UNTRAINED] = start
        load = load_average()
        try:
            self._measure_all()
        finally:
            self.subject.set(start)
        loads = [value for value in (load, load_average()) if value is not None]
        for name, w in self.weights.items():
            seen = w.load or ((min(loads), max(loads)) if loads else None)
            self.weights[name] = replace(w, load=seen, spent=self.spent, notes=list(self.notes))

    @property
    def spent(self) -> float:
        """Seconds since the beginning."""
        return time.perf_counter() - self.began

    @property
    def home(self) -> str:
        """The weights at which settings are searched for and timed: the last ones."""
        return list(self.thetas)[-1]

    def left(self) -> float:
        """Seconds of the budget that are left."""
        return self.budget - self.spent

    @contextmanager
    def _within(self, share: float) -> Iterator[None]:
        """Gives work at most this share of what is left of the budget; then it ends where it is."""
        self.deadline = time.perf_counter() + max(0.0, share * self.left())
        try:
            yield
        except OutOfTime:
            self.notes.append("The budget of time ended the search early: a larger --budget may show a better setting.")
            self.notes[:] = dict.fromkeys(self.notes)
        finally:
            self.deadline = math.inf

    def _measure_all(self) -> None:
        subject = self.subject
        self._begin_at(UNTRAINED, 0.1)
        rough = self._rough()
        for name, theta in subject.trained.items():
            self.thetas[name] = theta
            self._begin_at(name, 0.15)
        self._rehearse(rough)
        with self._within(0.45):
            self._search()
        with self._within(0.3):
            self._extend()
        with self._within(0.5):
            self._at_other_weights()
        self._time()
        self._try()

    def _begin_at(self, name: str, share: float) -> Reference:
        """Sets the weights called `name` and computes the reference there."""
        self.listener(f"reference gradient, {name} weights")
        self.subject.set(self.thetas[name])
        exact = self.subject.exact
        reference = accurate(exact, max(1.0, share * self.left()))
        self.references[name] = reference
        self.weights[name] = AdviceWeights(
            problem=self.subject.name,
            weights=name,
            loss=reference.loss,
            gradient_norm=reference.norm,
            uncertainty=min(reference.uncertainty, 1.0),
            loss_uncertainty=finite(reference.loss_uncertainty) or 0.0,
            reference=reference.label,
            n_params=sum(p.numel() for p in exact.params),
            samples=exact.samples,
            timed_samples=self.subject.timed.samples,
            budget=self.budget,
            config=self.subject.config,
            rows=self.subject.rows,
        )
        return reference

    def _rough(self) -> DiscOpt:
        """Disc-Opt (RK4) with the fewest steps that are accurate at the first weights."""
        steps = 1
        while True:
            record = self._record(DiscOpt(RK4, steps), UNTRAINED)
            good = record.error is not None and record.error < ENOUGH
            if good or steps >= 256 or self.spent > 0.3 * self.budget:
                return DiscOpt(RK4, steps)
            steps *= 2

    def _rehearse(self, rough: DiscOpt) -> None:
        """A short training to weights where costs are those of training, by steps that are fine enough for it."""
        practice = self.subject.practice
        if practice is None:
            return
        start, name = self.thetas[UNTRAINED], REHEARSED
        for _ in range(4):
            self.listener(f"rehearsal by {rough.label}")
            trained = train(
                practice,
                rough,
                start,
                lambda theta: math.nan,  # noqa: ARG005 (judged below, where there is a reference)
                seconds=max(1.0, 0.15 * self.left()),
                iterations=practice.iterations,
            )
            if trained.iterations == 0:
                self.notes.append(f"No rehearsal: {rough.label} failed in its first iteration.")
                return
            self.thetas = {k: v for k, v in self.thetas.items() if k != name} | {name: trained.theta}
            self.records = {k: v for k, v in self.records.items() if k[0] != name}  # of an earlier rehearsal
            reference = self._begin_at(name, 0.2)
            scale = Fit.of([self.weights[UNTRAINED], self.weights[name]]).scale
            record = self._record(rough, name)
            off = abs(record.loss_error) if record.loss_error is not None else math.inf
            if scale is None or off <= CLOSE_TO_FIT * scale or self.left() < 0.6 * self.budget:
                break
            rough = replace(rough, steps=2 * int(rough.setting))
        judge = judge_of(self.subject.exact, reference.method)
        losses = sorted(judge(theta) for theta in trained.kept)
        reached = losses[len(losses) // 2]
        self.weights[name] = replace(
            self.weights[name], iterations=trained.iterations, learning_rate=practice.learning_rate
        )
        self.weights[UNTRAINED] = replace(self.weights[UNTRAINED], trial_loss=finite(reached))
        if self.subject.trained:  # the user's own weights are those that count
            order = [UNTRAINED, name, *self.subject.trained]
            self.thetas = {k: self.thetas[k] for k in order}
            self.weights = {k: self.weights[k] for k in order}
        self.subject.set(self.thetas[self.home])

    def _record(self, method: GradientMethod, weights: str) -> AdviceRecord:
        """What is measured of a setting at weights, which are set; once.  Raises `OutOfTime`."""
        empty = empty_record(self.subject.name, weights, method)
        if (known := self.records.get((weights, empty.key))) is not None:
            return known
        if time.perf_counter() > self.deadline:
            raise OutOfTime
        self.listener(f"{empty.label}, {weights} weights")
        record = measured(self.subject.exact, method, self.references[weights], empty)
        self.records[weights, empty.key] = record
        self.methods[empty.key] = method
        return record

    @property
    def fit(self) -> Fit:
        """How the loss falls over the weights."""
        return Fit.of(list(self.weights.values()))

    def settings(self) -> list[Setting]:
        """All settings as they are known by now."""
        return settings_of(self.records.values(), list(self.weights.values()))

    def _outcome(self, method: GradientMethod) -> Outcome:
        record, scale = self._record(method, self.home), self.fit.scale
        bias = None if scale is None or record.loss_error is None else abs(record.loss_error) / scale
        effort = record.evaluations * (100.0 if record.engine == "eager" and self._has_kernels else 1.0)
        return Outcome(record.error, bias, effort if record.failure is None else 0.0)

    @property
    def _has_kernels(self) -> bool:
        """Whether some setting ran on something faster than torch operators."""
        return any(r.engine not in ("", "eager") for r in self.records.values())

    def _search(self) -> None:
        for family in first_families():
            self._climb(family)

    def _climb(self, family: Family) -> Ladder[GradientMethod] | None:
        """Searches a family, until it costs more than it can be worth."""
        ladder: Ladder[GradientMethod] = Ladder(family.settings, self._outcome)
        known = [o.cost for other in self._ladders.values() for o in other.outcomes.values() if AIMS[-1](o)]
        most = DEARER * min(known) if known else math.inf
        self._ladders[family.settings[0].family + str(len(self._ladders))] = ladder
        try:
            ladder.search(AIMS, first=family.first, stride=family.stride, most=most)
        except (EngineUnavailable, InvalidArgument):
            return None
        return ladder

    def _extend(self) -> None:
        """Variants of what is best so far: adjoints, norms, landing, memory, engines."""
        best = self._best_by_evaluations(discrete=False)
        if best is not None:
            ladder = next((v for v in self._ladders.values() if best in v.settings), None)
            around = ladder.settings.index(best) if ladder is not None else 4
            for family in variants(str(best.to_json()["solver"]), around):
                self._climb(family)
        for discrete in (True, False):
            best = self._best_by_evaluations(discrete=discrete)
            if best is None:
                continue
            ran_by = self.records[self.home, empty_record("", self.home, best).key].engine
            others = on_other_engines(best, ran_by)
            lean = [less for method in (best, *others) for less in with_less_memory(method)]
            self._lean += [*lean, *others]
            for method in (*lean, *others):
                self._record_if_possible(method)
        if self.left() > 0.5 * self.budget:
            for method in in_julia((1e-3, 1e-5)):
                self._record_if_possible(method)

    def _record_if_possible(self, method: GradientMethod) -> None:
        try:
            self._record(method, self.home)
        except (EngineUnavailable, InvalidArgument):
            return

    def _best_by_evaluations(self, *, discrete: bool) -> GradientMethod | None:
        """The setting of Disc-Opt, or of Opt-Disc, that needs the fewest evaluations of those that will do."""
        able = [s for s in self.settings() if s.is_discrete is discrete and s.refused(trial=False) is None]
        able = [s for s in able if s.records[-1].weights == self.home]
        best = min(able, key=lambda s: s.records[-1].evaluations, default=None)
        return None if best is None else self.methods[best.first.key]

    def _worth_timing(self) -> list[Setting]:
        """Settings that may be the best for some purpose, the likeliest first: those near the fewest evaluations of
        each method for each aim, and those that are of interest for their memory or engine."""
        at_home = [s for s in self.settings() if s.records[-1].weights == self.home and s.failure is None]
        ranked: dict[int, list[Setting]] = {}
        for aim in AIMS:
            for discrete in (True, False):
                able = [
                    s for s in at_home if s.is_discrete is discrete and not s.drifts and aim(self._known_outcome(s))
                ]
                able.sort(key=lambda s: s.records[-1].evaluations)
                for rank, s in enumerate(able[:MOST_OF_EACH]):
                    if s.evaluations <= 2.5 * able[0].evaluations:
                        ranked.setdefault(rank, []).append(s)
        lean = [s for s in at_home if self.methods[s.first.key] in self._lean]
        order = [*ranked.pop(0, []), *lean[:2], *(s for rank in sorted(ranked) for s in ranked[rank]), *lean[2:]]
        return list({s.first.key: s for s in order}.values())

    def _at_other_weights(self) -> None:
        """Measures what may be recommended at the weights before the last ones too."""
        chosen = self._worth_timing()
        for name in [name for name in self.thetas if name != self.home]:
            self.subject.set(self.thetas[name])
            try:
                for setting in chosen:
                    self._record(self.methods[setting.first.key], name)
            finally:
                self.subject.set(self.thetas[self.home])

    def _time(self) -> None:
        """Times, in rounds, and then the memory of what was timed."""
        self.listener("timing")
        posed, works, groups = self.subject.timed, {}, {}
        taken, most = 0.0, 0.4 * self.left()
        for setting in self._worth_timing():
            key = setting.first.key
            work = work_of(posed, self.methods[key])
            try:
                work()  # compiles, and shows whether it runs on this batch and in this precision
                began = time.perf_counter()
                work()
            except SolveError as error:
                self._update(key, failure=str(error))
                continue
            taken += FEWEST * (time.perf_counter() - began)
            works[key] = work
            groups[key] = sum(aim(self._known_outcome(setting)) for aim in AIMS[1:])
            if taken > most and len(works) >= 2:
                self.notes.append("Not all that may be worth it was timed: --budget sets the time for advice.")
                break
        if not works:
            return
        rounds = race(works, Clock(posed.device), max(0.5, 0.35 * self.left()), groups)
        for key, raced in rounds.raced.items():
            self._update(key, seconds=raced.seconds, scatter=raced.scatter, repeats=raced.repeats, ratio=raced.ratio)
        for name, w in self.weights.items():
            self.weights[name] = replace(w, load=rounds.load)
        self.listener("memory")
        until = time.perf_counter() + 0.3 * self.left()
        for key in works:
            if time.perf_counter() > until:
                break
            self._update(key, memory_bytes=memory_of(posed, self.methods[key]))

    def _known_outcome(self, setting: Setting) -> Outcome:
        return Outcome(setting.records[-1].error, setting.bias, 0.0)

    def _update(self, key: str, **values: Any) -> None:
        place = self.home, key
        self.records[place] = replace(self.records[place], **values)

    def _try(self) -> None:
        """Trains a few steps by the fastest settings that will do, to see that they fall like the accurate one."""
        practice, first = self.subject.practice, self.weights[UNTRAINED]
        rehearsed = self.weights.get(REHEARSED)
        if practice is None or rehearsed is None or first.trial_loss is None:
            return
        able = [s for s in self.settings() if s.seconds is not None and s.refused(trial=False) is None]
        judge = judge_of(self.subject.exact, self.references[REHEARSED].method)
        passed = 0
        for setting in sorted(able, key=cost)[:MOST_TRIED]:
            expected = 1.3 * (setting.seconds or 0.0) * rehearsed.iterations
            if passed and expected > 0.5 * self.left():
                continue
            if expected > 1.5 * self.left():
                continue
            self.listener(f"trial of {setting.label}")
            method = self.methods[setting.first.key]
            trained = train(
                practice,
                method,
                self.thetas[UNTRAINED],
                judge,
                seconds=max(2.0, self.left()),
                iterations=rehearsed.iterations,
            )
            if trained.iterations < rehearsed.iterations and math.isfinite(trained.reached):
                continue  # the time ended it
            self._update(setting.first.key, iterations=max(1, trained.iterations), reached=finite(trained.reached))
            again = next(s for s in self.settings() if s.first.key == setting.first.key)
            passed += bool(again.passed_trial)
            if passed >= 3:
                break
        self.subject.set(self.thetas[self.home])


def method_of(record: AdviceRecord) -> GradientMethod:
    """The method of a record, ready to solve with."""
    return method_from_json({"method": record.method, **record.options})
