"""The step size controller of adaptive solves: what the next step is, and what becomes of it.

Steps have the sign of the direction of time.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from pynode.engines.fused.compile import loop, part
from pynode.engines.fused.records import Record

ORDER = 5
"""Of the embedded pairs."""

SAFETY, SHRINK, GROW = 0.9, 0.2, 10.0
LEAST_ERROR = 1e-4
"""A tiny error says little about the next one."""

ROUNDING = 1e-3
"""A step this much below the distance (relative) is stretched: the safety factor allows for it."""

RUNNING, DONE, FULL, NON_FINITE, UNDERFLOW, EXHAUSTED, DRIFTED = range(7)
"""`Progress.status`; FULL asks for room for more steps."""


@dataclass(eq=False)
class Progress(Record):
    """Where an adaptive solve is, forward or backward; written while it goes on."""

    status: int = RUNNING
    n_accepted: int = 0
    n_rejected: int = 0
    n_f: int = 0
    n_vjp: int = 0
    time: float = 0.0
    end: float = 0.0  # what it may not step over
    step: float = 0.0  # the step that is being tried
    lands: bool = False  # whether this step ends at `end`
    proposed: float = 0.0  # the step that the last error suggests, which may have to be cut
    error: float = 0.0  # of the step that is being tried, in units of what is tolerated
    error_before: float = 0.0
    was_finite: bool = True  # whether the last error was
    n_steps: int = 0  # of the forward solve
    capacity: int = 0  # how many of them there is room for
    output: int = 0  # the next output time
    hint: int = 0  # the forward solve's step that the present time lies in
    tape_ready: bool = False  # whether the tape is that of the present time and state
    slope_norm: float = 0.0
    # the largest drift of a sample, at which output time, and which sample
    drift: float = 0.0
    drift_output: int = 0
    drift_row: int = 0


@part
def start(now: Progress, t: float, end: float) -> None:
    """Begins a solve at `t`."""
    now.time, now.end = t, end
    now.status, now.error_before, now.was_finite = RUNNING, LEAST_ERROR, True
    now.n_accepted, now.n_rejected, now.step, now.proposed = 0, 0, 0.0, 0.0


@part
def probe(now: Progress, size: float, slope: float) -> None:
    """Sets a step that shows how fast the slope changes, from the norms of state and slope (Hairer, II.4)."""
    distance = now.end - now.time
    step = 1e-6 if size < 1e-5 or slope < 1e-5 else 0.01 * size / slope
    now.step = math.copysign(min(step, abs(distance)), distance)


@part
def first_step(now: Progress, slope: float, change: float) -> None:
    """Proposes the first step, from the norms of the slope and of its change over the step of `probe`."""
    tried = abs(now.step)
    fastest = max(slope, change / tried)
    step = max(1e-6, 1e-3 * tried) if fastest <= 1e-15 else (0.01 / fastest) ** (1.0 / ORDER)
    now.proposed = math.copysign(min(100.0 * tried, step), now.step)


@loop
def choose(now: Progress, max_steps: int) -> None:
    """Sets the next step from the one that is proposed, or a status where none can be taken.

    The distance to the end is cut into two equal steps rather than into a long and a short one.
    """
    distance = now.end - now.time
    wanted = abs(now.proposed) * (1.0 + ROUNDING)
    now.lands = False
    if wanted >= abs(distance):
        now.step, now.lands = distance, True
    elif 2.0 * wanted >= abs(distance):
        now.step = 0.5 * distance
    else:
        now.step = now.proposed
    if now.proposed != now.proposed:
        now.status = NON_FINITE
    elif now.time + now.step == now.time:
        now.status = UNDERFLOW if now.was_finite else NON_FINITE
    elif now.n_accepted + now.n_rejected >= max_steps:
        now.status = EXHAUSTED


@loop
def judge(now: Progress, exponent: float, exponent_before: float) -> None:
    """Accepts or rejects the step by its error (at most 1 is accepted) and proposes the next one.

    PI control, with the exponents of this step's error and of that of the step before.  A step that was cut tells
    nothing of steps beyond GROW times its own size, so the longer one that was proposed before stays.
    """
    error, step = now.error, now.step
    if not error < math.inf:
        # an overlong step may leave the numbers' range where a shorter one does not
        now.n_rejected += 1
        now.was_finite = False
        now.proposed = SHRINK * step
        return
    now.was_finite = True
    scaled = error**exponent
    if error > 1.0:
        now.n_rejected += 1
        now.proposed = step * max(SHRINK, SAFETY / scaled)
        return
    now.n_accepted += 1
    now.time = now.end if now.lands else now.time + step
    factor = GROW
    if error > 0.0:
        factor = min(GROW, max(SHRINK, SAFETY * now.error_before**exponent_before / scaled))
    longer = factor * step
    now.proposed = now.proposed if factor == GROW and abs(now.proposed) > abs(longer) else longer
    now.error_before = max(error, LEAST_ERROR)
