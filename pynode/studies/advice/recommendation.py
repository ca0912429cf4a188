"""One setting for each goal, with why and how sure: from records alone."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

from pynode.studies.advice.record import AdviceRecord, AdviceWeights
from pynode.studies.advice.settings import Fit, Setting, cost, settings_of
from pynode.studies.base import number
from pynode.wording import counted

Sure = Literal["sure", "likely", "not sure"]

TRAINING, ROUGH, FINE, MEMORY, SAFEST = "training", "error 1e-2", "error 1e-4", "memory", "safest"

GOALS: dict[str, str] = {
    TRAINING: "fastest that trains like an accurate one",
    ROUGH: "fastest with a gradient error below 1e-2",
    FINE: "fastest with a gradient error below 1e-4",
    MEMORY: "least memory that trains like an accurate one",
    SAFEST: "safest",
}

TARGETS = {ROUGH: 1e-2, FINE: 1e-4}

ALIKE = 1.05
"""Times up to this factor apart are taken for equal: then the more accurate setting is the better one."""

CLOSE = 1.25
"""A second one within this factor of the time makes no great difference."""

DEARER = 2.0
"""How much more time than the fastest accurate one the safest setting may take."""

MEMORY_PRICE = 4.0
"""How many times the time of the fastest a setting may take that is recommended for its memory."""

JULIA = "julia"
"""The engine whose memory is another process's, and is not measured."""

BUSY, OVERLOADED = 1.3, 2.0
"""The highest load average of a machine that does nothing else, and the load of a core at which no time is sure."""


@dataclass(frozen=True)
class Doubt:
    """What speaks against a recommendation, in words; one that is not serious leaves it likely."""

    text: str
    serious: bool = True


@dataclass(frozen=True)
class Recommendation:
    """The setting for one goal; `setting` is None where none reaches it, and `why` says so."""

    goal: str
    setting: Setting | None
    why: str
    sure: Sure
    doubts: tuple[Doubt, ...] = ()

    @property
    def record(self) -> AdviceRecord | None:
        """The setting's record with its time, or the last one."""
        if self.setting is None:
            return None
        return self.setting.timed or self.setting.records[-1]


def recommend(records: Sequence[AdviceRecord], weights: Sequence[AdviceWeights]) -> list[Recommendation]:
    """One recommendation for each goal, in the order of `GOALS`; empty without records."""
    settings, fit = settings_of(records, weights), Fit.of(weights)
    if not weights or not settings:
        return []
    at_last = [s for s in settings if s.records[-1].weights == weights[-1].weights and not s.drifts]
    timed = [s for s in at_last if s.seconds is not None]
    tiers = [[s for s in timed if len(s.records) == len(weights)], timed, at_last]

    def first(make: Callable[[Sequence[Setting]], Recommendation]) -> Recommendation:
        """From the settings of which most is known, or from others where none of them will do."""
        for tier in tiers:
            made = make(tier)
            if made.setting is not None:
                break
        return made

    return [
        first(lambda tier: _for_training(tier, fit, weights)),
        *(first(lambda tier, g=goal, t=target: _for_error(g, t, tier, weights)) for goal, target in TARGETS.items()),  # type: ignore[misc]
        _for_memory(settings, tiers[0], weights),
        first(lambda tier: _safest(tier, weights)),
    ]


def _fastest(settings: Sequence[Setting]) -> Setting | None:
    """The fastest; of those that are as fast the most accurate one.  Without times that with the fewest evaluations."""
    if not settings:
        return None
    first = min(settings, key=cost)
    least = cost(first) * (ALIKE if first.ratio is not None else 1.0)
    return min((s for s in settings if cost(s) <= least), key=lambda s: s.error or 0.0)


def _for_training(settings: Sequence[Setting], fit: Fit, weights: Sequence[AdviceWeights]) -> Recommendation:
    willing = [s for s in settings if s.refused() is None]
    tried = [s for s in willing if s.passed_trial]
    best = _fastest(tried or willing)
    if best is None:
        return Recommendation(TRAINING, None, "every setting fails or is too coarse; see the table", "not sure")
    why = [_kind(best)]
    if best.bias is not None:
        why.append(f"its loss is off by {_share(best.bias)} of the fit")
    if best.trial is not None and best.trial.reached is not None and fit.start and fit.start.trial_loss is not None:
        why.append(
            f"{best.trial.iterations} iterations end at {number(best.trial.reached)}, accurate ones at "
            f"{number(fit.start.trial_loss)}"
        )
    why += _against_rival(best, willing)
    doubts = _doubts(best, willing, weights)
    if fit.scale is None:
        doubts.append(Doubt(_without_fit(fit)))
    elif best.passed_trial is None:
        doubts.append(Doubt("no training by it was tried"))
    return Recommendation(TRAINING, best, "; ".join(why), _sure(doubts), tuple(doubts))


def _for_error(
    goal: str, target: float, settings: Sequence[Setting], weights: Sequence[AdviceWeights]
) -> Recommendation:
    reaching = [s for s in settings if s.error is not None and s.error <= target]
    best = _fastest(reaching)
    if best is None:
        errors = [s.error for s in settings if s.error is not None]
        least = f"; the least error is {number(min(errors), 2)}" if errors else ""
        return Recommendation(goal, None, f"no setting that was measured reaches it{least}", "not sure")
    why = [_kind(best), f"error {number(best.error, 2)} at most", *_against_rival(best, reaching)]
    doubts = _doubts(best, reaching, weights)
    unsure = max((w.uncertainty for w in weights if w.uncertainty is not None), default=0.0)
    if unsure > target / 10:
        doubts.append(Doubt(f"the reference itself is known to {number(unsure, 2)} only"))
    return Recommendation(goal, best, "; ".join(why), _sure(doubts), tuple(doubts))


def _for_memory(
    every: Sequence[Setting], complete: Sequence[Setting], weights: Sequence[AdviceWeights]
) -> Recommendation:
    failed = {s.twin for s in every if s.passed_trial is False}
    known = [s for s in every if s.memory is not None and s.refused() is None and s.twin not in failed]
    if not known:
        return Recommendation(MEMORY, None, "no memory was measured", "not sure")
    fastest = _fastest([s for s in complete if s.refused() is None and s.memory])
    price = MEMORY_PRICE * cost(fastest) if fastest is not None else math.inf
    able = [s for s in known if cost(s) <= price] or known
    best = _leanest(able)
    why = [f"{bytes_text(best.memory)}"]
    if fastest is not None and fastest is not best and best.ratio:
        times = number(cost(best) / cost(fastest), 2)
        why.append(f"{times} times the time of {fastest.label}, which takes {bytes_text(fastest.memory)}")
    if (least := _leanest(known)) is not best:
        times = number(cost(least) / cost(best), 2)
        why.append(f"the least is {bytes_text(least.memory)} by {least.label}, in {times} times its time")
    doubts = [*_gaps(best, weights), *_load_doubts(weights, serious=False)]
    if missing := [s for s in complete if s.memory is None and s.refused() is None and s.first.engine != JULIA]:
        names = counted(len(missing), "setting")
        doubts.append(Doubt(f"the memory of {names} that will do was not measured: a larger --budget measures more"))
    return Recommendation(MEMORY, best, "; ".join(why), _sure(doubts), tuple(doubts))


def _leanest(settings: Sequence[Setting]) -> Setting:
    """That with the least memory; of those with as little the fastest."""
    least = min(s.memory or 0 for s in settings)
    return min((s for s in settings if (s.memory or 0) <= 1.02 * least), key=cost)


def _safest(complete: Sequence[Setting], weights: Sequence[AdviceWeights]) -> Recommendation:
    """Exact for its own loss and accurate for the continuous one; on stiff problems with steps that adapt."""
    able = [s for s in complete if s.refused(trial=False) is None and s.error is not None]
    stiff = is_stiff(complete)
    apt = [s for s in able if s.is_discrete is not stiff and s.first.options.get("adjoint") != "backsolve"] or able
    if not apt:
        return Recommendation(SAFEST, None, "every setting fails or is too coarse", "not sure")
    fine = [s for s in apt if (s.error or 0.0) <= TARGETS[FINE]]
    best = min(apt, key=lambda s: s.error or 0.0)
    if fine:
        least = min(map(cost, fine))
        best = min((s for s in fine if cost(s) <= DEARER * least), key=lambda s: s.error or 0.0)
    if stiff:
        why = "steps adapt to fast phases, and the adjoint reads the stored solution"
    elif best.is_discrete:
        why = "exact for its own loss, of a cost known beforehand, and nothing is solved backwards"
    else:
        why = "the adjoint reads the stored solution, and steps adapt"
    why += f"; error {number(best.error, 2)}"
    doubts = [*_gaps(best, weights), *_load_doubts(weights, serious=False)]
    if not fine:
        doubts.append(Doubt("no setting has an error below 1e-4"))
    return Recommendation(SAFEST, best, why, _sure(doubts), tuple(doubts))


def is_stiff(settings: Sequence[Setting]) -> bool:
    """Whether some measure shows that stability limits the steps."""
    from pynode.studies.advice.cautions import stability_limited

    return stability_limited(settings) is not None


def _kind(setting: Setting) -> str:
    return "exact for its own loss" if setting.is_discrete else f"adaptive, {setting.evaluations:,} evaluations"


def _against_rival(best: Setting, willing: Sequence[Setting]) -> list[str]:
    """How much faster it is than the best of the other method."""
    rival = _fastest([s for s in willing if s.is_discrete is not best.is_discrete])
    if best.ratio is None:
        return []
    if rival is None or rival.ratio is None:
        other = "Opt-Disc" if best.is_discrete else "Disc-Opt"
        return [f"no {other} that was timed does"]
    times = cost(rival) / cost(best)
    if times * ALIKE < 1:
        but = "was not tried" if rival.passed_trial is None else "its trial lags behind"
        return [f"{rival.label} is {number(1 / times, 2)} times as fast, but {but}"]
    return [f"as fast as {rival.label}" if times < ALIKE else f"{number(times, 2)} times as fast as {rival.label}"]


def _gaps(best: Setting, weights: Sequence[AdviceWeights]) -> list[Doubt]:
    """What was not measured of it, or not verified."""
    gaps = [] if best.seconds else ["it was not timed, so evaluations decide"]
    if len(best.records) != len(weights):
        gaps.append("it was measured at some of the weights only")
    if any(w.uncertainty is None for w in weights):
        gaps.append("reference not verified")
    return [Doubt(gap) for gap in gaps]


def _doubts(best: Setting, willing: Sequence[Setting], weights: Sequence[AdviceWeights]) -> list[Doubt]:
    doubts, timed = _gaps(best, weights), best.timed
    if timed is not None and timed.ratio_scatter is None:
        doubts.append(Doubt(f"it was timed in {counted(timed.repeats, 'round')} only: a larger --budget allows more"))
    elif timed is not None and not timed.compares:
        apart = f"{100 * (timed.ratio_scatter or 0):.0f} %"
        doubts.append(Doubt(f"its time relative to the fastest differs by {apart} from round to round"))
    doubts += _load_doubts(weights)
    faster = [s for s in willing if ALIKE * cost(s) < cost(best) and s.passed_trial is None]
    if faster and best.passed_trial:
        names = counted(len(faster), "faster setting")
        doubts.append(Doubt(f"there was no time to try {names}: a larger --budget tries more"))
    close = [s for s in willing if s is not best and cost(best) / ALIKE <= cost(s) <= CLOSE * cost(best)]
    if close:
        others = sorted(close, key=cost)[:2]
        names, one = " and ".join(s.label for s in others), len(others) == 1
        if best.ratio is not None:
            doubts.append(Doubt(f"{names} {'is' if one else 'are'} about as fast", serious=False))
        else:
            doubts.append(Doubt(f"{names} {'takes' if one else 'take'} about as many evaluations", serious=False))
    return doubts


def _load_doubts(weights: Sequence[AdviceWeights], *, serious: bool = True) -> list[Doubt]:
    """What the load of the machine does to times; none where it had a core to spare.

    An overloaded machine leaves a doubt that is serious where `serious`: where times alone decide.
    """
    loads = [w.load[1] for w in weights if w.load is not None]
    cores = next((w.environment.get("cores") for w in weights if w.environment.get("cores")), 1)
    if not loads or not isinstance(cores, int) or max(loads) <= max(BUSY, 0.75 * cores):
        return []
    load = f"load average {max(loads):.1f}, cores {cores}"
    if max(loads) > OVERLOADED * cores:
        text = f"the machine was overloaded ({load}), so that times tell little; repeat it when it is idle"
        return [Doubt(text, serious=serious)]
    return [Doubt(f"the machine was busy ({load}); times were taken in turn", serious=False)]


def _sure(doubts: Sequence[Doubt]) -> Sure:
    if any(doubt.serious for doubt in doubts):
        return "not sure"
    return "likely" if doubts else "sure"


def _without_fit(fit: Fit) -> str:
    """Why no loss is known that discretisation errors could be held against."""
    if fit.end is None:
        return "measured at untrained weights only, where a field is never stiff"
    if fit.start is None:
        return "not measured at untrained weights, so that it is not known what training gains"
    return f"the loss at the weights {fit.end.weights} is no lower than at the untrained ones"


def _share(value: float) -> str:
    return f"{100 * value:.2g} %"


def bytes_text(size: int | None) -> str:
    """A size in memory for a table."""
    if size is None:
        return "–"
    for unit, factor in (("GiB", 1 << 30), ("MiB", 1 << 20), ("KiB", 1 << 10)):
        if size >= factor:
            return f"{size / factor:.3g} {unit}"
    return f"{size} B"
