"""The cross-check: one loss and its gradients by every method and backend, each judged by the bound it must meet.

Three rules, each on relative errors (2-norm) of the loss, of the gradient by theta and of that by y0:

- *rounding*: methods that run the same discrete program (disc-opt*, same scheme, same steps) agree to `ROUNDING`,
  whatever code runs it.  The one that is nearest to most of the others is taken to be right;
- *tolerance*: an adaptive method is within `FACTOR` * growth * rtol of the continuous gradient.  A tolerance holds for
  one step, and the errors of the steps of two solves add up: that is the factor.  They also grow along the trajectory:
  by how much is measured on the problem (relative change of the gradient over that of y0), never on the method that is
  to be judged.  A loose tolerance justifies anything by this rule.  So the method is also within `SAFETY` times its own
  error estimate plus growth * rtol: the estimate is what tolerances that are 10 and 100 times tighter change.  What was
  recorded without a tighter twin is not judged where its bound reaches `MEANINGLESS`;
- *halving*: a fixed-step method is within `SAFETY` times its own error estimate, from two halvings of the step, of the
  continuous gradient: a gradient that converges to something else has a small estimate and a large error.

Where a run at half the step or at a tighter tolerance fails, the verdict rests on what is left, and its reason says so.
The continuous gradient is RK4 refined until it stands; its own uncertainty and `ROUNDING` are added to each bound.
"""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from statistics import median
from typing import Any, NamedTuple

import torch

from pynode.errors import RunFailure, SolveError, UsageError
from pynode.gradients import Discrete
from pynode.methods.base import GradientMethod
from pynode.methods.disc_opt import DiscOpt
from pynode.records.files import finite
from pynode.schemes import SCHEMES
from pynode.studies.base import accuracy
from pynode.studies.crosscheck.case import Case, Row, versions
from pynode.studies.crosscheck.methods import VARIED, is_discrete
from pynode.studies.crosscheck.record import AGREES, BROKEN, FAILED, UNAVAILABLE, UNJUDGED, CrosscheckRecord
from pynode.studies.crosscheck.subjects import Distance, Gradient, Solves, Subject, Truth, case_subject

ROUNDING = 1e-10
"""What float64 leaves of a gradient of a few hundred operations in sequence, with room."""
FACTOR, SAFETY = 100.0, 3.0
"""Seen on the examples (nine seeds), the recorded cases and the problems: up to 16, and up to 1.3 (adaptive methods at
tolerances from 1e-2 to 1e-8, three seeds: 1.0)."""
FACTORS = {"ad-adaptive": 1000.0}
"""Of methods whose steps are chosen for the state alone: the tolerance says less of their gradient (seen: 69)."""
TIGHTER, TIGHTEST = (10, 100), 1e-12
"""Divisors of the tolerance for an adaptive method's own error estimate, and the smallest tolerance that is tried."""
MEANINGLESS = 0.5
"""A relative bound that a gradient of half the size keeps, or one of half as much again."""
VAGUE = 1e-3
"""A continuous gradient that is known no better judges nobody."""
OUR_SCHEMES = {"rk4_38": "rk38"}
"""Schemes of recorded rows that have another name here."""
SHOWN = ("adjoint", "solver", "rtol", "atol", "scheme")
"""Options that a row of a case file has beside its numbers."""
QUANTITIES = ("loss", "theta", "y0")


class Checked(NamedTuple):
    """Judged gradients, the cases to write, and a sentence for each solve that can't be written as a case."""

    records: list[CrosscheckRecord]
    cases: list[Case]
    left_out: list[str]


@dataclass(eq=False)
class Entry:
    """One gradient of one subject on its way to a verdict; `program` is what twins share.

    `finer` are gradients of the same method at half and a quarter of its step, or at tighter tolerances; `not_finer`
    says why one of them is missing.
    """

    record: CrosscheckRecord
    method: GradientMethod | None = None
    program: tuple[str, int] | None = None
    order: int = 1
    gradient: Gradient | None = None
    finer: tuple[Gradient, ...] = ()
    not_finer: str | None = None


def crosscheck(
    subject: Subject, methods: Sequence[GradientMethod], *, problem: str, all_cases: bool = False
) -> Checked:
    """Every gradient of `subject` by `methods` or recorded, judged; and the cases to write where one is broken, or
    with `all_cases` anyway.

    A discrete program that was recorded is run as well, so that it has a twin.  Records are ordered by group.
    """
    recorded = [_recorded(subject, row, problem) for row in subject.rows]
    for entry in recorded:
        entry.finer = _recorded_tighter(entry, recorded)
    programs = dict.fromkeys(e.program for e in recorded if e.program is not None)
    twins = [DiscOpt(SCHEMES.load(scheme), steps) for scheme, steps in programs]
    entries = [_measured(subject, method, problem) for method in dict.fromkeys([*methods, *twins])]
    # what an earlier cross-check found by a method that has run just now is out of date
    live = {e.record.entry for e in entries}
    entries += [
        e for e, row in zip(recorded, subject.rows, strict=True) if row.kind != "results" or row.label not in live
    ]
    kinds, groups = ([getattr(e.record, k) for e in entries] for k in ("method", "group"))
    entries.sort(key=lambda e: (kinds.index(e.record.method), groups.index(e.record.group), _coarseness(e.record)))
    truth = _truth(subject)
    for entry in entries:
        entry.record = _judged(entry, truth, entries)
    wanted = all_cases or any(e.record.verdict == BROKEN for e in entries)
    cases, left_out = _cases(subject, entries) if wanted else Solves([], [])
    files = [f"cases/{case.name}.json" for case in cases]
    records = [
        replace(
            e.record,
            differences=[_difference(e.gradient, other.gradient) for other in entries],
            files=files if e.record.verdict == BROKEN else [],
        )
        for e in entries
    ]
    return Checked(records, cases, left_out)


def _coarseness(record: CrosscheckRecord) -> float:
    """Grows from coarse to fine."""
    return -record.setting if record.adaptive else record.setting


def _measured(subject: Subject, method: GradientMethod, problem: str) -> Entry:
    """The gradient by a method that runs here, and for fixed steps those at half and a quarter of the step."""
    kind = type(method)
    chosen = [str(getattr(method, k)) for k in VARIED if getattr(method, k, None) != getattr(kind, k, None)]
    words = [word for word in chosen if word not in method.label]
    entry = Entry(
        CrosscheckRecord(
            problem=problem,
            case=subject.name,
            entry=" ".join([method.label, *words]),
            method=method.title,
            backend=method.ran_by,
            group=" ".join([method.family, *words]),
            adaptive=method.adaptive,
            setting=method.setting,
            verdict=UNJUDGED,
        ),
        method,
    )
    if not method.adaptive and isinstance(method.recipe.gradient, Discrete):
        scheme = method.recipe.formula
        entry.program, entry.order = (scheme.name, int(method.setting)), scheme.order
    try:
        entry.gradient = subject.gradient(method)
    except SolveError as error:
        entry.record = replace(entry.record, verdict=FAILED, reason=str(error))
    except UsageError as error:
        entry.record = replace(entry.record, verdict=UNAVAILABLE, reason=str(error))
    except RunFailure as error:  # the backend is there and did not get through
        entry.record = replace(entry.record, verdict=BROKEN, reason=_one_line(error))
    else:
        entry.finer, entry.not_finer = _gradients_of_finer(subject, method)
    return entry


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split())


def _gradients_of_finer(subject: Subject, method: GradientMethod) -> tuple[tuple[Gradient, ...], str | None]:
    """The gradients of `_finer(method)` up to the first that is missing, and why that is.

    Whatever happens there says nothing of `method`: smaller steps may follow a state that blows up farther, and tighter
    tolerances may need more steps or memory than there are.
    """
    gradients: list[Gradient] = []
    for finer in _finer(method):
        try:
            gradient = subject.gradient(finer)
            problem = None if gradient.is_finite else "the gradient has NaN or infinite entries"
        except (RunFailure, UsageError) as error:
            problem = _one_line(error)
        if problem is not None:
            return tuple(gradients), f"not compared with {accuracy(finer.setting, adaptive=finer.adaptive)}: {problem}"
        gradients.append(gradient)
    return tuple(gradients), None


def _finer(method: GradientMethod) -> list[GradientMethod]:
    """The method at half and a quarter of its step, or at tighter tolerances."""
    if not method.adaptive:
        return [_with(method, steps=k * int(method.setting)) for k in (2, 4)]
    options: Any = method
    tighter = [k for k in TIGHTER if options.rtol / k >= TIGHTEST]
    return [_with(method, rtol=options.rtol / k, atol=options.atol / k) for k in tighter]


def _with(method: GradientMethod, **options: Any) -> GradientMethod:
    return replace(method, **options)


def _recorded_tighter(entry: Entry, recorded: list[Entry]) -> tuple[Gradient, ...]:
    """What was recorded of the same method at tolerances at least ten times tighter."""
    record = entry.record
    if not record.adaptive or not record.setting:
        return ()
    others = (e for e in recorded if e.record.adaptive and e.record.group == record.group)
    tight = record.setting / TIGHTER[0] * (1 + ROUNDING)
    return tuple(e.gradient for e in others if e.gradient is not None and 0 < e.record.setting <= tight)


def _recorded(subject: Subject, row: Row, problem: str) -> Entry:
    """A gradient that somebody else has found."""
    s, steps = row.settings, int(row.settings.get("substeps", 0))
    name = OUR_SCHEMES.get(str(s.get("scheme")), str(s.get("scheme")))
    exact = is_discrete(str(s.get("method", {}).get("method", ""))) if row.kind == "results" else row.kind == "disc_opt"
    kind = "disc-opt" if exact else str(s.get("adjoint") or row.kind).replace("_", "-")
    entry = Entry(
        CrosscheckRecord(
            problem=problem,
            case=subject.name,
            entry=f"recorded {row.label}",
            method=kind,
            backend="recorded",
            group=f"recorded {kind} {name if steps else str(s.get('solver', '')).lower()}".strip(),
            adaptive=not steps,
            setting=float(steps or s.get("rtol", 0.0)),
            verdict=UNJUDGED,
        ),
        program=(name, steps) if exact and name in SCHEMES.names() else None,
    )
    if row.loss is None or row.grad_theta is None or row.grad_y0 is None:
        entry.record = replace(entry.record, verdict=FAILED, reason=row.failed)
    else:
        entry.gradient = subject.split(row.loss, torch.cat((row.grad_y0, row.grad_theta)))
    return entry


def _judged(entry: Entry, truth: Truth | str, entries: list[Entry]) -> CrosscheckRecord:
    """The record with its verdict."""
    record = entry.record
    if entry.gradient is None:
        return record
    if not entry.gradient.is_finite:
        return replace(record, verdict=BROKEN, reason="the gradient has NaN or infinite entries")
    twin, apart, is_right = _twin(entry, entries)
    record = replace(record, twin=twin, twin_difference=apart)
    broken = []
    if apart is not None and apart > ROUNDING and not is_right:
        broken.append(f"off by {apart:.1e} from its twin {twin}, rounding justifies {ROUNDING:.0e}")
    if isinstance(truth, str):
        if broken or apart is not None:
            return replace(record, verdict=BROKEN if broken else AGREES, reason="; ".join(broken) or None)
        return replace(record, reason=f"no continuous gradient to judge by: {truth}")
    errors = entry.gradient.distance(truth.gradient)
    record = replace(
        record, error_loss=finite(errors.loss), error_theta=finite(errors.theta), error_y0=finite(errors.y0)
    )
    bounds, vague = _bounds(entry, truth), None
    if bounds is not None:
        worst = max(range(3), key=lambda k: errors[k] / bounds[k])
        name, error, bound = QUANTITIES[worst], errors[worst], bounds[worst]
        record = replace(record, quantity=name, error=finite(error), bound=finite(bound), order=_order(entry, truth))
        if not error <= bound:
            by_tolerance = record.adaptive and bound >= _by_tolerance(entry, truth)[worst]
            rule = "its tolerance" if by_tolerance else "its own error estimate"
            what = "loss" if name == "loss" else f"{name} gradient"
            broken.append(f"{what} off by {error:.1e}, {rule} justifies {bound:.1e}")
        elif record.adaptive and not entry.finer and min(bounds) >= MEANINGLESS:
            vague = f"its tolerance justifies {min(bounds):.1e}, which is as much as any gradient may be off"
    judged = (bounds is not None and vague is None) or apart is not None
    verdict = BROKEN if broken else AGREES if judged else UNJUDGED
    reasons = broken or ([] if judged else [vague or "nothing to judge it by"])
    reasons += [] if entry.not_finer is None else [entry.not_finer]
    return replace(record, verdict=verdict, reason="; ".join(reasons) or None)


def _bounds(entry: Entry, truth: Truth) -> Distance | None:
    """What each error may be; None where no rule says."""
    base = _unknown(truth)
    if entry.record.adaptive:
        bounds = _by_tolerance(entry, truth)
        if not entry.finer or entry.gradient is None:
            return bounds
        tighter = zip(*(entry.gradient.distance(finer) for finer in entry.finer), strict=True)
        justified = truth.growth * entry.record.setting
        own = (SAFETY * max(each) + justified + b for each, b in zip(tighter, base, strict=True))
        return Distance(*map(min, bounds, own))
    if len(entry.finer) < 2 or entry.gradient is None:
        return None
    changes = (entry.gradient.distance(entry.finer[0]), entry.finer[0].distance(entry.finer[1]))
    # what the second halving changes stands for 2^order times as much before the first: the larger of both is safe
    power = 2.0**entry.order
    estimates = (max(a, power * b) * power / (power - 1) for a, b in zip(*changes, strict=True))
    return Distance(*(SAFETY * e + b for e, b in zip(estimates, base, strict=True)))


def _by_tolerance(entry: Entry, truth: Truth) -> Distance:
    """What an adaptive method's tolerance alone justifies."""
    factor = FACTORS.get(entry.record.method, FACTOR)
    return Distance(*(factor * truth.growth * entry.record.setting + b for b in _unknown(truth)))


def _unknown(truth: Truth) -> Distance:
    """What every bound has: for the continuous gradient, and for rounding."""
    return Distance(*(2 * u + ROUNDING for u in truth.uncertainty))


def _order(entry: Entry, truth: Truth) -> float | None:
    """The order at which the gradient by theta approaches the continuous one, where rounding does not hide it."""
    if entry.gradient is None or not entry.finer:
        return None
    coarse, fine = (g.distance(truth.gradient).theta for g in (entry.gradient, entry.finer[0]))
    return finite(math.log2(coarse / fine)) if min(coarse, fine) > 10 * truth.uncertainty.theta + ROUNDING else None


def _twin(entry: Entry, entries: list[Entry]) -> tuple[str | None, float | None, bool]:
    """Another entry of the same program, how far off it this one is, and whether this one is taken to be right.

    Right is the one that is nearest to most of the others, of two the one in torch; all others are held against it.
    """
    group = [e for e in entries if e.program is not None and e.program == entry.program and e.gradient is not None]
    if len(group) < 2:
        return None, None, False

    def off(e: Entry) -> tuple[float, bool]:
        apart = (_difference(e.gradient, other.gradient) for other in group if other is not e)
        return median(math.inf if d is None else d for d in apart), e.record.backend != "torch"

    right = min(group, key=off)
    if right is not entry:
        return right.record.entry, _difference(entry.gradient, right.gradient), False
    nearest = min((e for e in group if e is not entry), key=lambda e: _difference(e.gradient, entry.gradient) or 0.0)
    return nearest.record.entry, _difference(entry.gradient, nearest.gradient), True


def _difference(a: Gradient | None, b: Gradient | None) -> float | None:
    """The largest of the pairwise relative differences: of loss, gradient by theta, and by y0, over the larger one."""
    if a is None or b is None:
        return None
    return finite(max(min(x, y) for x, y in zip(a.distance(b), b.distance(a), strict=True)))


def _cases(subject: Subject, entries: list[Entry]) -> Solves:
    """The solves of `subject` with a reference and what the broken methods make of them."""
    broken = [e for e in entries if e.record.verdict == BROKEN and e.method is not None]
    labels = {e.record.entry for e in entries}
    written = []
    try:
        cases, left_out = subject.solves()
    except SolveError as error:
        return Solves([], [f"{subject.name}: {_one_line(error)}"])
    for case in cases:
        alone = subject if subject.is_case else case_subject(case)
        rows = [row for row in case.rows if row.kind != "results" or row.label not in labels]
        if case.reference is None and isinstance(truth := _truth(alone), Truth):
            settings = {"solver": "rk4-refined", "uncertainty": max(truth.uncertainty)}
            rows.insert(0, _row("reference", settings, truth.gradient))
        for entry in broken:
            assert entry.method is not None
            settings = _settings(entry.method)
            settings |= {"label": entry.record.entry, "verdict": BROKEN, "reason": entry.record.reason}
            try:
                rows.append(_row("results", settings, alone.gradient(entry.method)))
            except (RunFailure, UsageError) as error:
                rows.append(Row("results", {**settings, "failed": str(error)}))
        name = re.sub(r"[^\w.-]+", "-", case.name)
        written.append(replace(case, name=name, rows=tuple(rows), versions={**versions(), **case.versions}))
    return Solves(written, left_out)


def _truth(subject: Subject) -> Truth | str:
    """The continuous gradient, or why there is none."""
    try:
        truth = subject.truth
    except SolveError as error:
        return str(error)
    if not max(truth.uncertainty) <= VAGUE:  # NaN included
        return f"refined RK4 knows it to {max(truth.uncertainty):.0e} only"
    return truth


def _row(kind: str, settings: dict[str, Any], gradient: Gradient) -> Row:
    return Row(kind, settings, gradient.loss, gradient.theta, gradient.y0)


def _settings(method: GradientMethod) -> dict[str, Any]:
    """What a row says about how its gradient was found."""
    options = method.to_json()
    short: dict[str, Any] = {k: options[k] for k in SHOWN if k in options}
    if not method.adaptive:
        short["substeps"] = int(method.setting)
    return {"backend": method.ran_by, **short, "method": options}
