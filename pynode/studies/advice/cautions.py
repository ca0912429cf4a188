"""Warnings of advice: stiffness, backward solves that drift or cost much, steps too coarse for the fit."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

from pynode.schemes import SCHEMES
from pynode.studies.advice.record import AdviceRecord, AdviceWeights
from pynode.studies.advice.settings import Fit, Setting, settings_of
from pynode.studies.base import number

FEW_STEPS, LOOSEST = 20, 1e-2
"""Fewest steps and loosest tolerance of a solve that shows what limits its steps: with fewer steps, those that find the
step size count for most, and errors of 10 % follow no order."""

EXPECTED = 0.55
"""Steps grow with a tighter tolerance at this share of the formula's rate at least, unless stability limits them."""

SUDDEN = 1e3
"""An error of fixed steps that falls by this factor when steps are halved is no error of accuracy."""

WORSE = 2.0
"""A backward solve matters where its gradient is so many times worse than that of stored states."""

ORDER = 5
"""Of formulas that are not known here, as most are: steps grow like the tolerance to the power of -1/5."""


class Limited(NamedTuple):
    """Two settings of one family whose steps tell that stability limits them."""

    weights: str
    sentence: str


def cautions(records: Sequence[AdviceRecord], weights: Sequence[AdviceWeights]) -> list[str]:
    """All warnings, a sentence each."""
    settings, fit = settings_of(records, weights), Fit.of(weights)
    listed: list[str] = []
    if (limited := stability_limited(settings)) is not None:
        listed.append(limited.sentence)
    listed += _drifting(settings)
    if (sentence := _too_coarse(settings)) is not None:
        listed.append(sentence)
    if (sentence := _costly_backward(settings)) is not None:
        listed.append(sentence)
    if (sentence := _small_gradient(fit)) is not None:
        listed.append(sentence)
    for w in weights:
        listed += [note for note in w.notes if note not in listed]
    return listed


def stability_limited(settings: Sequence[Setting]) -> Limited | None:
    """Whether steps are limited by stability: an adaptive solve takes hardly fewer at a looser tolerance, or fixed
    steps that blow up are fine when they are halved."""
    families: dict[tuple[str, str], list[AdviceRecord]] = {}
    for setting in settings:
        for record in setting.records:
            families.setdefault((record.family, record.weights), []).append(record)
    for (family, weights), mine in families.items():
        if mine[0].adaptive:
            if (sentence := _stiff_adaptive(family, weights, mine)) is not None:
                return Limited(weights, sentence)
        elif (sentence := _stiff_fixed(family, weights, mine)) is not None:
            return Limited(weights, sentence)
    return None


def _stiff_adaptive(family: str, weights: str, records: Sequence[AdviceRecord]) -> str | None:
    known = sorted((r for r in records if r.failure is None and r.steps), key=lambda r: -r.setting)
    for loose in known:
        tight = next((r for r in known if r.setting <= loose.setting / 90), None)
        if tight is None or loose.steps < FEW_STEPS or loose.setting > LOOSEST:
            continue
        expected = (loose.setting / tight.setting) ** (1 / _order(loose))
        if tight.steps / loose.steps < 1 + EXPECTED * (expected - 1) and loose.rejected > 0.1 * loose.steps:
            return (
                f"Stiff at the weights {weights}: {family} takes {loose.steps} steps at rtol {loose.setting:.0e} and "
                f"{tight.steps} at {tight.setting:.0e}, so stability limits the steps, not accuracy; tighter "
                "tolerances cost little, and more training may make it stiffer."
            )
    return None


def _order(record: AdviceRecord) -> int:
    """The order of an adaptive formula."""
    solver = str(record.options.get("solver"))
    return SCHEMES.load(solver).order if solver in SCHEMES.names() else ORDER


def _stiff_fixed(family: str, weights: str, records: Sequence[AdviceRecord]) -> str | None:
    known = sorted(records, key=lambda r: r.setting)
    for coarse in known:
        fine = next((r for r in known if coarse.setting < r.setting <= 2 * coarse.setting and r.error), None)
        if fine is None or fine.error is None or fine.error > 1e-2:
            continue
        if coarse.error is None or coarse.error > max(10.0, SUDDEN * fine.error):
            return (
                f"Stiff at the weights {weights}: {family} blows up with {coarse.setting:.0f} steps an interval and "
                f"has an error of {number(fine.error, 2)} with {fine.setting:.0f}, so stability limits the steps."
            )
    return None


def _drifting(settings: Sequence[Setting]) -> list[str]:
    """The family of backward solves that loses most digits."""
    worst: tuple[float, AdviceRecord, AdviceRecord | None] | None = None
    by_place: dict[tuple[str, str], AdviceRecord] = {}
    for setting in settings:
        for record in setting.records:
            if record.options.get("adjoint") == "interpolating":
                by_place[_but_for_adjoint(record)] = record
    for setting in settings:
        for record in setting.records:
            if record.drift is None or record.drift < 10.0:
                continue
            stored = by_place.get(_but_for_adjoint(record))
            digits = math.log10(record.drift)
            harmless = record.drift <= 1000 and not (
                stored is not None and stored.error and record.error and record.error > WORSE * stored.error
            )
            if harmless:
                continue
            if worst is None or digits > worst[0]:
                worst = digits, record, stored
    if worst is None:
        return []
    digits, record, stored = worst
    beside = ""
    if stored is not None and stored.error is not None and record.error is not None:
        beside = f" (gradient error {number(record.error, 2)}, interpolating {number(stored.error, 2)})"
    stops = "; training by it stops with an error" if record.drift and record.drift > 1000 else ""
    return [
        f"Backsolve loses {digits:.1f} digits over the horizon at the weights {record.weights}: {record.label} is off "
        f"the stored states by {number(record.drift, 2)} tolerances{beside}{stops}."
    ]


def _but_for_adjoint(record: AdviceRecord) -> tuple[str, str]:
    """What a backward solve and the interpolating adjoint of the same forward solve have in common."""
    others = sorted((name, value) for name, value in record.options.items() if name != "adjoint")
    return f"{record.method} {others}", record.weights


def _too_coarse(settings: Sequence[Setting]) -> str | None:
    """Disc-Opt's steps whose discretisation error is larger than the fit leaves room for."""
    coarse: dict[str, list[Setting]] = {}
    for setting in settings:
        if setting.is_discrete and setting.is_too_coarse and setting.first.options.get("memory", "store") == "store":
            coarse.setdefault(setting.first.family, []).append(setting)
    if not coarse:
        return None
    parts = []
    for family, mine in coarse.items():
        most = max(mine, key=lambda s: s.first.setting)
        parts.append(f"{family} up to {most.first.setting:.0f} ({100 * (most.bias or 0):.0f} % of the fit)")
    return (
        "Steps too coarse for the fit: the gradient of Disc-Opt is exact for the loss as computed, but that loss is "
        f"off by more than a twentieth of what the fit is worth, with steps of {', '.join(parts)}. Training would fit "
        "the solver's error, and another solver would see another model."
    )


def _costly_backward(settings: Sequence[Setting]) -> str | None:
    ratios = [
        (r.nfe_backward / r.nfe_forward, r)
        for s in settings
        for r in s.records
        if r.adaptive and r.failure is None and r.nfe_forward
    ]
    most = max(ratios, key=lambda pair: pair[0], default=None)
    if most is None or most[0] < 5:
        return None
    ratio, record = most
    return (
        f"The backward solve of {record.label} takes {ratio:.0f} times the evaluations of the forward one at the "
        f"weights {record.weights}: the adjoint is harder to solve than the state."
    )


def _small_gradient(fit: Fit) -> str | None:
    if fit.start is None or fit.end is None or not fit.start.gradient_norm:
        return None
    share = fit.end.gradient_norm / fit.start.gradient_norm
    if share > 0.01:
        return None
    return (
        f"At the weights {fit.end.weights} the gradient is {number(share, 2)} of that at the beginning: errors "
        "relative to it look large there, and what counts is the error of the loss."
    )
