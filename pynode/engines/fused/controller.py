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
"""`Run.status`; FULL asks for room for more steps."""


@dataclass(eq=False)
class Run(Record):
    """Where an adaptive solve is, forward or backward; written while it goes on."""

    status: int = RUNNING
    time: float = 0.0
    end: float = 0.0  # what it may not step over
    step: float = 0.0  # the step that is being tried
    lands: bool = False  # whether this step ends at `end`
    proposed: float = 0.0  # the step that the last error suggests, which may have to be cut
    error: float = 0.0  # of the step that is being tried, in units of what is tolerated
    error_before: float = 0.0
    was_finite: bool = True  # whether the last error was
    n_accepted: int = 0
    n_rejected: int = 0
    n_f: int = 0
    n_vjp: int = 0
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
def start(run: Run, t: float, end: float) -> None:
    """Begins a solve at `t`."""
    run.time, run.end = t, end
    run.status, run.error_before, run.was_finite = RUNNING, LEAST_ERROR, True
    run.n_accepted, run.n_rejected, run.step, run.proposed = 0, 0, 0.0, 0.0


@part
def probe(run: Run, size: float, slope: float) -> None:
    """Sets a step that shows how fast the slope changes, from the norms of state and slope (Hairer, II.4)."""
    distance = run.end - run.time
    step = 1e-6 if size < 1e-5 or slope < 1e-5 else 0.01 * size / slope
    run.step = math.copysign(min(step, abs(distance)), distance)


@part
def first_step(run: Run, slope: float, change: float) -> None:
    """Proposes the first step, from the norms of the slope and of its change over the step of `probe`."""
    tried = abs(run.step)
    fastest = max(slope, change / tried)
    step = max(1e-6, 1e-3 * tried) if fastest <= 1e-15 else (0.01 / fastest) ** (1.0 / ORDER)
    run.proposed = math.copysign(min(100.0 * tried, step), run.step)


@loop
def choose(run: Run, max_steps: int) -> None:
    """Sets the next step from the one that is proposed, or a status where none can be taken.

    The distance to the end is cut into two equal steps rather than into a long and a short one.
    """
    distance = run.end - run.time
    wanted = abs(run.proposed) * (1.0 + ROUNDING)
    run.lands = False
    if wanted >= abs(distance):
        run.step, run.lands = distance, True
    elif 2.0 * wanted >= abs(distance):
        run.step = 0.5 * distance
    else:
        run.step = run.proposed
    if run.proposed != run.proposed:
        run.status = NON_FINITE
    elif run.time + run.step == run.time:
        run.status = UNDERFLOW if run.was_finite else NON_FINITE
    elif run.n_accepted + run.n_rejected >= max_steps:
        run.status = EXHAUSTED


@loop
def judge(run: Run, exponent: float, exponent_before: float) -> None:
    """Accepts or rejects the step by its error (at most 1 is accepted) and proposes the next one.

    PI control, with the exponents of this step's error and of that of the step before.  A step that was cut tells
    nothing of steps beyond GROW times its own size, so the longer one that was proposed before stays.
    """
    error, step = run.error, run.step
    if not error < math.inf:
        # an overlong step may leave the numbers' range where a shorter one does not
        run.n_rejected += 1
        run.was_finite = False
        run.proposed = SHRINK * step
        return
    run.was_finite = True
    now = error**exponent
    if error > 1.0:
        run.n_rejected += 1
        run.proposed = step * max(SHRINK, SAFETY / now)
        return
    run.n_accepted += 1
    run.time = run.end if run.lands else run.time + step
    factor = GROW
    if error > 0.0:
        factor = min(GROW, max(SHRINK, SAFETY * run.error_before**exponent_before / now))
    longer = factor * step
    run.proposed = run.proposed if factor == GROW and abs(run.proposed) > abs(longer) else longer
    run.error_before = max(error, LEAST_ERROR)
