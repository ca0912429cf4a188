"""What records say of each setting over all weights, whether it will do for training, and what is dominated."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property

from pynode.studies.advice.record import AdviceRecord, AdviceWeights

COARSE = 0.3
"""The largest relative error of a gradient that training can begin with."""

STALLED = 1.0
"""The error of an inconsistent gradient at which it no longer points downhill for sure."""

SHARE = 0.05
"""How far the computed loss may be off, as a share of the fit: beyond, steps are too coarse for the fit (RQ4)."""

ACCURATE = 1e-2
"""A trial by a gradient that is as accurate as this lags behind by luck only: training is chaotic at high rates."""

BEHIND, SHARE_OF_DROP = 2.0, 0.05
"""A trial may end above the accurate one's loss by so many times that loss, and by this share of the drop."""

UNTIMED = 1e6
"""More than any ratio of times: what an evaluation of a setting counts for that was not timed."""

DRIFT_BOUND = 1000.0
"""Tolerances that a state that is solved backwards may drift by before training stops with an error."""


@dataclass(frozen=True)
class Fit:
    """How the loss falls from the first weights to the last: what discretisation errors of the loss are held against.

    `scale` is the smaller of the last loss and of the drop (by absolute value): for a sum of squares the residual of
    the fit, for a log-likelihood, which has no zero, what training has gained.
    """

    start: AdviceWeights | None
    end: AdviceWeights | None

    @classmethod
    def of(cls, weights: Sequence[AdviceWeights]) -> Fit:
        """From the first weights at which training begins to the last others."""
        start = next((w for w in weights if w.is_start), None)
        end = next((w for w in reversed(weights) if not w.is_start), None)
        return cls(start, end)

    @property
    def scale(self) -> float | None:
        """In units of the loss; None where nothing was trained, or where the loss has not fallen."""
        if self.start is None or self.end is None or self.start.loss <= self.end.loss:
            return None
        return min(abs(self.end.loss), self.start.loss - self.end.loss) or None

    @property
    def limit(self) -> float | None:
        """The largest loss that a trial may end with; None where there was none."""
        if self.start is None or self.start.trial_loss is None:
            return None
        best = self.start.trial_loss
        drop = max(0.0, self.start.loss - best)
        return best + min(BEHIND * abs(best), SHARE_OF_DROP * drop) if best else SHARE_OF_DROP * drop


@dataclass(frozen=True)
class Setting:
    """One setting with its records at all weights, in their order."""

    records: tuple[AdviceRecord, ...]
    fit: Fit

    @property
    def first(self) -> AdviceRecord:
        """The record at the first weights that the setting was measured at."""
        return self.records[0]

    @property
    def label(self) -> str:
        """Method and accuracy as one word."""
        return self.first.label

    @property
    def is_discrete(self) -> bool:
        """Whether it is Disc-Opt."""
        return self.first.is_discrete

    @cached_property
    def failure(self) -> str | None:
        """Why it fails at some weights."""
        return next((r.failure for r in self.records if r.failure), None)

    @cached_property
    def error(self) -> float | None:
        """The largest error of the gradient over the weights; None where one is missing."""
        errors = [r.error for r in self.records]
        return max(e for e in errors if e is not None) if errors and None not in errors else None

    @cached_property
    def timed(self) -> AdviceRecord | None:
        """The record with times, at the last weights that were timed."""
        return next((r for r in reversed(self.records) if r.seconds is not None), None)

    @property
    def seconds(self) -> float | None:
        """Of one loss and gradient."""
        return None if self.timed is None else self.timed.seconds

    @property
    def ratio(self) -> float | None:
        """Of its time to the fastest setting's in the same rounds."""
        return None if self.timed is None else self.timed.ratio

    @property
    def evaluations(self) -> int:
        """Field evaluations and products of one loss and gradient, the most over the weights."""
        return max(r.evaluations for r in self.records)

    @cached_property
    def memory(self) -> int | None:
        """Peak bytes of one loss and gradient, the most over the weights."""
        known = [r.memory_bytes for r in self.records if r.memory_bytes is not None]
        return max(known) if known else None

    @cached_property
    def drift(self) -> float | None:
        """The largest drift over the weights."""
        return max((r.drift for r in self.records if r.drift is not None), default=None)

    @property
    def drifts(self) -> bool:
        """Whether training would stop because the backward solve leaves the stored states."""
        return self.drift is not None and self.drift > DRIFT_BOUND

    @cached_property
    def bias(self) -> float | None:
        """The error of the computed loss at the last weights as a share of the fit; None where it is not known."""
        if self.fit.scale is None or self.fit.end is None:
            return None
        errors = [r.loss_error for r in self.records if r.weights == self.fit.end.weights]
        return abs(errors[-1]) / self.fit.scale if errors and errors[-1] is not None else None

    @property
    def is_too_coarse(self) -> bool:
        """Whether the computed loss is off by more than the fit leaves room for (RQ4)."""
        return self.bias is not None and self.bias > SHARE

    @cached_property
    def trial(self) -> AdviceRecord | None:
        """The record of its trial."""
        return next((r for r in self.records if r.iterations), None)

    @property
    def passed_trial(self) -> bool | None:
        """Whether the trial came as far as the accurate one; None without a trial."""
        limit = self.fit.limit
        if self.trial is None or limit is None:
            return None
        return self.trial.reached is not None and self.trial.reached <= limit

    @cached_property
    def twin(self) -> str:
        """What tells settings apart that take other steps: memory and engine change no gradient."""
        options = {k: v for k, v in self.first.options.items() if k not in ("memory", "budget", "engine")}
        return f"{self.first.method} {sorted(options.items())}"

    def refused(self, *, trial: bool = True) -> str | None:
        """Why it won't do for training, in a few words; None where nothing speaks against it."""
        if self.failure is not None:
            return "fails"
        if self.drifts:
            return "backward solve drifts"
        for record in self.records:
            at_start = self.fit.start is None or record.weights == self.fit.start.weights
            bound = COARSE if at_start else STALLED
            if record.error is None or (record.error > bound and (at_start or record.adaptive)):
                return f"gradient off by {100 * (record.error or 0):.0f} %"
        if self.is_too_coarse:
            return "too coarse for the fit"
        if trial and self.passed_trial is False and not (self.error is not None and self.error <= ACCURATE):
            return "its trial lags behind"
        return None


def settings_of(records: Iterable[AdviceRecord], weights: Sequence[AdviceWeights]) -> list[Setting]:
    """All settings, in the order of their first records; later records of the same weights replace earlier ones."""
    order, fit = [w.weights for w in weights], Fit.of(weights)
    by_key: dict[str, dict[str, AdviceRecord]] = {}
    for record in records:
        by_key.setdefault(record.key, {})[record.weights] = record
    return [
        Setting(tuple(sorted(mine.values(), key=lambda r: order.index(r.weights) if r.weights in order else 0)), fit)
        for mine in by_key.values()
    ]


def cost(setting: Setting) -> float:
    """What settings are ordered by: the time relative to that of the fastest; where it is not known, after all of
    those that were timed, in proportion to the evaluations."""
    return setting.ratio if setting.ratio is not None else UNTIMED * max(1, setting.evaluations)


def front(settings: Sequence[Setting]) -> list[Setting]:
    """The settings that no other one beats in time and error at once, the fastest first.

    Only those that were timed and did not fail.
    """
    known = [s for s in settings if s.seconds is not None and s.error is not None and s.failure is None]
    kept: list[Setting] = []
    for setting in sorted(known, key=lambda s: (cost(s), s.error or 0.0)):
        if not kept or (setting.error or 0.0) < (kept[-1].error or 0.0):
            kept.append(setting)
    return kept
