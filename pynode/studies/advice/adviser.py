"""Measures what advice needs, within a budget of seconds: references, a rehearsal, a search, times and trials."""

from __future__ import annotations

import math
from dataclasses import dataclass, field, replace

from pynode.clock import load_average
from pynode.errors import EngineUnavailable, InvalidArgument, SolveError
from pynode.methods.base import GradientMethod
from pynode.methods.disc_opt import DiscOpt
from pynode.schemes.rk4 import RK4
from pynode.studies.advice.costs import time_settings, try_settings, worth_timing
from pynode.studies.advice.families import (
    Family,
    first_families,
    in_julia,
    on_other_engines,
    variants,
    with_less_memory,
)
from pynode.studies.advice.measurements import AIMS, Listener, Measurements
from pynode.studies.advice.record import REHEARSED
from pynode.studies.advice.search import Ladder
from pynode.studies.advice.settings import Fit
from pynode.studies.advice.subject import Subject
from pynode.studies.advice.trial import train
from pynode.studies.gradients.record import UNTRAINED

ENOUGH = 1e-3
"""The gradient's error of the setting that a rehearsal is done by."""

CLOSE_TO_FIT = 0.02
"""How far the loss of that setting may be off after it, as a share of the fit."""

MOST_STEPS = 256
REHEARSALS = 4
"""Rehearsals until the steps are fine enough for where they lead."""

DEARER = 4.0
"""A family is given up where a setting costs so many times what another one does that meets every aim."""


@dataclass
class Adviser:
    """The order in which things are measured; see `run`."""

    known: Measurements
    ladders: list[Ladder[GradientMethod]] = field(default_factory=list)
    lean: list[GradientMethod] = field(default_factory=list)
    """Settings that are of interest for their memory or their engine, whatever they cost."""

    def run(self) -> None:
        """Measures everything; the parameters and their `.grad` are then as they were."""
        known, load = self.known, load_average()
        start = known.subject.exact.theta()
        grads = [(p, p.grad) for p in (*known.subject.exact.params, *known.subject.timed.params)]
        known.thetas[UNTRAINED] = start
        try:
            self._measure()
        finally:
            known.subject.set(start)
            for p, grad in grads:
                p.grad = grad
        loads = [value for value in (load, load_average()) if value is not None]
        for name, w in known.weights.items():
            seen = w.load or ((min(loads), max(loads)) if loads else None)
            known.weights[name] = replace(w, load=seen, spent=known.spent, notes=list(known.notes))

    def _measure(self) -> None:
        """References; weights as in training; the search there; what it found at the other weights; costs."""
        known = self.known
        known.begin_at(UNTRAINED, 0.1)
        rough = self._rough()
        self._rehearse(rough)
        for name, theta in known.subject.trained.items():  # the user's own weights are those that count
            known.thetas[name] = theta
            try:
                known.begin_at(name, 0.15)
            except SolveError as error:
                del known.thetas[name]
                known.note(
                    f"Not measured at the weights {name}: the continuous problem can't be solved there, {error}."
                )
        known.subject.set(known.thetas[known.home])
        with known.within(0.45):
            for family in first_families():
                self._climb(family)
        with known.within(0.3):
            self._extend()
        with known.within(0.5):
            self._at_other_weights()
        time_settings(known, worth_timing(known, self.lean))
        try_settings(known)

    def _rough(self) -> DiscOpt:
        """Disc-Opt (RK4) with the fewest steps that are accurate at the first weights."""
        known, steps = self.known, 1
        while True:
            error = known.record(DiscOpt(RK4, steps), UNTRAINED).error
            if (error is not None and error < ENOUGH) or steps >= MOST_STEPS or known.spent > 0.3 * known.budget:
                return DiscOpt(RK4, steps)
            steps *= 2

    def _rehearse(self, rough: DiscOpt) -> None:
        """A short training to weights where costs are those of training, by steps that are fine enough for it."""
        known, practice = self.known, self.known.subject.practice
        if practice is None:
            return
        start = known.thetas[UNTRAINED]
        for _ in range(REHEARSALS):
            known.listener(f"rehearsal by {rough.label}")
            seconds = max(1.0, 0.12 * known.left)
            try:
                trained = train(practice, rough, start, seconds=seconds, iterations=practice.iterations)
            except (EngineUnavailable, InvalidArgument) as error:
                known.not_measured(rough, error)
                return
            finer = replace(rough, steps=2 * int(rough.setting))
            if trained.failed and known.spent <= 0.4 * known.budget:
                known.note(f"A training by {rough.label} failed after {trained.iterations} iterations.")
                rough = finer
                continue
            self._forget_rehearsal()
            if trained.iterations == 0:
                known.note(f"No rehearsal: {rough.label} failed in its first iterations.")
                return
            known.thetas[REHEARSED] = trained.theta
            try:
                known.begin_at(REHEARSED, 0.2)
            except SolveError as error:
                self._forget_rehearsal()
                known.note(
                    f"{trained.iterations} iterations by {rough.label} lead to weights where the continuous problem "
                    f"can't be solved: {error}."
                )
                rough = finer
                continue
            known.rehearsal = trained
            known.weights[REHEARSED] = replace(
                known.weights[REHEARSED], iterations=trained.iterations, learning_rate=practice.learning_rate
            )
            scale = Fit.of([known.weights[UNTRAINED], known.weights[REHEARSED]]).scale
            off = known.record(rough, REHEARSED).loss_error
            fine = off is not None and (scale is None or abs(off) <= CLOSE_TO_FIT * scale)
            if fine or known.spent > 0.4 * known.budget:
                break
            rough = finer
        known.subject.set(known.thetas[known.home])

    def _forget_rehearsal(self) -> None:
        """Takes back the weights of an earlier rehearsal, and what was measured there."""
        known = self.known
        known.rehearsal = None
        known.thetas.pop(REHEARSED, None)
        known.weights.pop(REHEARSED, None)
        known.records = {place: record for place, record in known.records.items() if place[0] != REHEARSED}

    def _climb(self, family: Family) -> None:
        """Searches a family, until it costs more than it can be worth; not at all where it can't run here."""
        ladder: Ladder[GradientMethod] = Ladder(family.settings, self.known.outcome)
        costs = [o.cost for other in self.ladders for o in other.outcomes.values() if AIMS[-1](o)]
        most = DEARER * min(costs) if costs else math.inf
        self.ladders.append(ladder)
        try:
            ladder.search(AIMS, first=family.first, stride=family.stride, most=most)
        except (EngineUnavailable, InvalidArgument) as error:
            self.known.not_measured(family.settings[family.first], error)

    def _extend(self) -> None:
        """Variants of what is best so far: adjoints, norms, landing, memory, engines."""
        known = self.known
        best = self._cheapest(discrete=False)
        if best is not None:
            ladder = next(ladder for ladder in self.ladders if best in ladder.settings)
            for family in variants(str(best.to_json()["solver"]), ladder.settings.index(best)):
                self._climb(family)
        for discrete in (True, False):
            best = self._cheapest(discrete=discrete)
            if best is None:
                continue
            ran_by = known.record(best, known.home).engine
            others = on_other_engines(best, ran_by)
            self.lean += [*others, *(less for method in (best, *others) for less in with_less_memory(method))]
        for method in self.lean:
            self._record_if_possible(method)
        if known.left > 0.5 * known.budget:
            for method in in_julia((1e-3, 1e-5)):
                self._record_if_possible(method)

    def _record_if_possible(self, method: GradientMethod) -> None:
        try:
            self.known.record(method, self.known.home)
        except (EngineUnavailable, InvalidArgument) as error:
            self.known.not_measured(method, error)

    def _cheapest(self, *, discrete: bool) -> GradientMethod | None:
        """The setting of Disc-Opt, or of Opt-Disc, that needs the fewest evaluations of those that will do."""
        able = [s for s in self.known.settings_at_home() if s.is_discrete is discrete]
        able = [s for s in able if s.refused(trial=False) is None]
        best = min(able, key=lambda s: s.records[-1].evaluations, default=None)
        return None if best is None else self.known.methods[best.first.key]

    def _at_other_weights(self) -> None:
        """Measures what may be recommended at the weights before the last ones too."""
        known = self.known
        chosen = worth_timing(known, self.lean)
        for name in [name for name in known.thetas if name != known.home]:
            known.subject.set(known.thetas[name])
            try:
                for setting in chosen:
                    known.record(known.methods[setting.first.key], name)
            finally:
                known.subject.set(known.thetas[known.home])


def measure_all(subject: Subject, budget: float, listener: Listener) -> Measurements:
    """All that advice on `subject` needs, measured in about `budget` seconds."""
    known = Measurements(subject, budget, listener, notes=list(subject.notes))
    Adviser(known).run()
    return known
