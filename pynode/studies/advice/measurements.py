"""The measurements of one advice: records by weights and setting, references, and the time that is left."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import Any

from torch import Tensor

from pynode.errors import UsageError
from pynode.methods.base import GradientMethod
from pynode.records.files import finite
from pynode.studies.advice.measure import empty_record, label_of, measured
from pynode.studies.advice.record import AdviceRecord, AdviceWeights
from pynode.studies.advice.reference import Reference, accurate
from pynode.studies.advice.search import Aim, Outcome, bias_below, error_below
from pynode.studies.advice.settings import COARSE, SHARE, Fit, Setting, settings_of
from pynode.studies.advice.subject import Subject
from pynode.studies.advice.trial import Trained

AIMS: tuple[Aim, ...] = (bias_below(SHARE, COARSE), error_below(1e-2), error_below(1e-4))
"""What settings are searched for, the easiest first."""

EAGER_FACTOR = 100.0
"""What an evaluation by torch operators is taken to cost where others run on kernels."""

Listener = Callable[[str], None]


class OutOfTime(Exception):
    """A part of the work has taken what time it was given."""


@dataclass
class Measurements:
    """Everything measured of `subject`; `methods` are the settings by the key of their records.

    `thetas` are the weights by name, the last ones those that settings are searched for and timed at.  `rehearsal` is
    the short training that trials are held against.
    """

    subject: Subject
    budget: float
    listener: Listener
    records: dict[tuple[str, str], AdviceRecord] = field(default_factory=dict)
    weights: dict[str, AdviceWeights] = field(default_factory=dict)
    references: dict[str, Reference] = field(default_factory=dict)
    thetas: dict[str, Tensor] = field(default_factory=dict)
    methods: dict[str, GradientMethod] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)
    rehearsal: Trained | None = None
    began: float = field(default_factory=time.perf_counter)
    deadline: float = math.inf

    @property
    def spent(self) -> float:
        """Seconds since the beginning."""
        return time.perf_counter() - self.began

    @property
    def left(self) -> float:
        """Seconds of the budget that are left."""
        return self.budget - self.spent

    @property
    def home(self) -> str:
        """The weights at which settings are searched for and timed."""
        return list(self.thetas)[-1]

    @property
    def fit(self) -> Fit:
        """How the loss falls over the weights."""
        return Fit.of(list(self.weights.values()))

    def settings(self) -> list[Setting]:
        """All settings as they are known by now."""
        return settings_of(self.records.values(), list(self.weights.values()))

    def settings_at_home(self) -> list[Setting]:
        """Those that were measured at the last weights and have not failed."""
        return [s for s in self.settings() if s.records[-1].weights == self.home and s.failure is None]

    @contextmanager
    def within(self, share: float) -> Iterator[None]:
        """Gives work at most this share of what is left of the budget; then it ends where it is."""
        self.deadline = time.perf_counter() + max(0.0, share * self.left)
        try:
            yield
        except OutOfTime:
            self.note("The budget of time ended the search early: a larger --budget may show a better setting.")
        finally:
            self.deadline = math.inf

    def note(self, sentence: str) -> None:
        """Adds a sentence to what is said of the measurement, once."""
        if sentence not in self.notes:
            self.notes.append(sentence)

    def not_measured(self, method: GradientMethod, error: UsageError) -> None:
        """Notes that a setting can't run here, and why."""
        self.note(f"Not measured: {label_of(method)}, {error}.")

    def begin_at(self, name: str, share: float) -> Reference:
        """Sets the weights called `name` and computes the reference there, in a share of the time that is left."""
        self.listener(f"reference gradient, {name} weights")
        self.subject.set(self.thetas[name])
        exact = self.subject.exact
        reference = accurate(exact, max(1.0, share * self.left))
        self.references[name] = reference
        self.weights[name] = AdviceWeights(
            problem=self.subject.name,
            weights=name,
            loss=reference.loss,
            gradient_norm=reference.norm,
            uncertainty=finite(reference.uncertainty),
            loss_uncertainty=finite(reference.loss_uncertainty),
            reference=reference.label,
            n_params=sum(p.numel() for p in exact.params),
            samples=exact.samples,
            timed_samples=self.subject.timed.samples,
            budget=self.budget,
            config=self.subject.config,
            rows=self.subject.rows,
        )
        return reference

    def record(self, method: GradientMethod, weights: str) -> AdviceRecord:
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

    def update(self, key: str, **values: Any) -> None:
        """Adds values to the record of a setting at the last weights."""
        place = self.home, key
        self.records[place] = replace(self.records[place], **values)

    def outcome(self, method: GradientMethod) -> Outcome:
        """What a search has to know of a setting at the last weights."""
        record, scale = self.record(method, self.home), self.fit.scale
        bias = None if scale is None or record.loss_error is None else abs(record.loss_error) / scale
        has_kernels = any(r.engine not in ("", "eager") for r in self.records.values())
        effort = record.evaluations * (EAGER_FACTOR if record.engine == "eager" and has_kernels else 1.0)
        return Outcome(record.error, bias, effort if record.failure is None else 0.0)

    def aims_met(self, setting: Setting) -> tuple[bool, ...]:
        """Which of the aims a setting meets at the last weights."""
        outcome = Outcome(setting.records[-1].error, setting.bias, 0.0)
        return tuple(aim(outcome) for aim in AIMS)
