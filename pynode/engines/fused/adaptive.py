"""Step control of adaptive solves: what the next step is, and what becomes of it.

`c` are the numbers of the plan, `s` is the run.  Steps have the sign of the direction of time.
"""

from __future__ import annotations

import math
from typing import Any

from pynode.engines.fused.jit import loop, part
from pynode.engines.fused.opt_disc_tables import (
    END,
    ERROR,
    ERROR_BEFORE,
    EXHAUSTED,
    LANDS,
    MAX_STEPS,
    N_A,
    N_ACCEPTED,
    N_C,
    N_E,
    N_EXPONENT,
    N_EXPONENT_BEFORE,
    N_INTERPOLANT,
    N_REJECTED,
    NON_FINITE,
    PROPOSED,
    STATUS,
    STEP,
    TIME,
    UNDERFLOW,
    W_A,
    W_BETWEEN,
    W_E,
    W_PLACE,
    W_SCALE,
    WAS_FINITE,
)
from pynode.engines.fused.pairs import DEGREE, ORDER, STAGES
from pynode.engines.fused.simd import shift

SAFETY, SHRINK, GROW = 0.9, 0.2, 10.0
LEAST_ERROR = 1e-4
"""A tiny error says little about the next one."""

ROUNDING = 1e-3
"""A step this much below the distance (relative) is stretched: the safety factor allows for it."""


@part
def start(s: Any, t: float, end: float) -> None:
    """Begins a solve at `t`."""
    s[TIME], s[END] = t, end
    s[STATUS], s[ERROR_BEFORE], s[WAS_FINITE] = 0.0, LEAST_ERROR, 1.0
    s[N_ACCEPTED], s[N_REJECTED], s[STEP], s[PROPOSED] = 0.0, 0.0, 0.0, 0.0


@part
def probe(s: Any, size: float, slope: float) -> None:
    """Sets STEP to one that shows how fast the slope changes, from the norms of state and slope (Hairer, II.4)."""
    distance = s[END] - s[TIME]
    found = 1e-6 if size < 1e-5 or slope < 1e-5 else 0.01 * size / slope
    s[STEP] = math.copysign(min(found, abs(distance)), distance)


@part
def first_step(s: Any, slope: float, change: float) -> None:
    """Sets PROPOSED from the norms of the slope and of its change over STEP."""
    tried = abs(s[STEP])
    fastest = max(slope, change / tried)
    found = max(1e-6, 1e-3 * tried) if fastest <= 1e-15 else (0.01 / fastest) ** (1.0 / ORDER)
    s[PROPOSED] = math.copysign(min(100.0 * tried, found), s[STEP])


@loop
def choose(q: Any, s: Any) -> None:
    """Sets STEP from PROPOSED, or STATUS where no step can be taken.

    The distance to the end is cut into two equal steps rather than into a long and a short one.
    """
    distance = s[END] - s[TIME]
    wanted = abs(s[PROPOSED]) * (1.0 + ROUNDING)
    s[LANDS] = 0.0
    if wanted >= abs(distance):
        s[STEP], s[LANDS] = distance, 1.0
    elif 2.0 * wanted >= abs(distance):
        s[STEP] = 0.5 * distance
    else:
        s[STEP] = s[PROPOSED]
    if s[PROPOSED] != s[PROPOSED]:
        s[STATUS] = NON_FINITE
    elif s[TIME] + s[STEP] == s[TIME]:
        s[STATUS] = UNDERFLOW if s[WAS_FINITE] == 1.0 else NON_FINITE
    elif s[N_ACCEPTED] + s[N_REJECTED] >= q[MAX_STEPS]:
        s[STATUS] = EXHAUSTED


@loop
def judge(c: Any, s: Any) -> None:
    """Accepts or rejects STEP by its ERROR (at most 1 is accepted, which leaves WAS_FINITE at 1) and sets PROPOSED.

    PI control.  A step that was cut tells nothing of steps beyond GROW times its own size, so the longer one that was
    proposed before stays.
    """
    error, step = s[ERROR], s[STEP]
    if not error < math.inf:
        # an overlong step may leave the numbers' range where a shorter one does not
        s[N_REJECTED] += 1.0
        s[WAS_FINITE] = 0.0
        s[PROPOSED] = SHRINK * step
        return
    s[WAS_FINITE] = 1.0
    now = error ** c[N_EXPONENT]
    if error > 1.0:
        s[N_REJECTED] += 1.0
        s[PROPOSED] = step * max(SHRINK, SAFETY / now)
        return
    s[N_ACCEPTED] += 1.0
    s[TIME] = s[END] if s[LANDS] == 1.0 else s[TIME] + step
    factor = GROW
    if error > 0.0:
        factor = min(GROW, max(SHRINK, SAFETY * s[ERROR_BEFORE] ** c[N_EXPONENT_BEFORE] / now))
    longer = factor * step
    s[PROPOSED] = s[PROPOSED] if factor == GROW and abs(s[PROPOSED]) > abs(longer) else longer
    s[ERROR_BEFORE] = max(error, LEAST_ERROR)


@loop
def set_weights(c: Any, h: float, scaled: bool, w: Any) -> None:
    """Writes the weights of all stages of a step `h`, and those of its error.

    Where `scaled`, the slope of a stage is kept times its weight in the solution, where that is not zero: what it adds
    to a quadrature alongside then has that weight already.  The first and the last stage, which two steps share, are
    kept as they are.
    """
    last = (STAGES - 1) * STAGES
    for i in range(STAGES):
        w[W_SCALE + i] = 1.0
        if scaled and 0 < i < STAGES - 1 and c[N_A + last + i] != 0.0:
            w[W_SCALE + i] = h * c[N_A + last + i]
    for j in range(STAGES):
        of_slope = h / w[W_SCALE + j]
        w[W_E + j] = of_slope * c[N_E + j]
        for i in range(j + 1, STAGES):
            w[W_A + i * STAGES + j] = w[W_SCALE + i] * of_slope * c[N_A + i * STAGES + j]


@loop
def find_between(c: Any, times: Any, steps: int, t: float, h: float, hint: int, w: Any) -> None:
    """For each stage of a step `h` from `t`: which record its time lies in, and the interpolant's weights there."""
    record = hint
    for i in range(STAGES):
        at = t + c[N_C + i] * h
        forward = times[1] > 0.0
        while record > 0 and (at < times[2 * record]) == forward and at != times[2 * record]:
            record -= 1
        while record < steps - 1 and (at > times[2 * record + 2]) == forward and at != times[2 * record + 2]:
            record += 1
        w[W_PLACE + i] = record
        size = times[2 * record + 1]
        interpolate_weights(c, (at - times[2 * record]) / size, size, shift(w, W_BETWEEN + i * STAGES))


@loop
def interpolate_weights(c: Any, x: float, h: float, weights: Any) -> None:
    """The weights of a step's slopes at the part `x` of its size `h`."""
    for j in range(STAGES):
        found = 0.0
        for k in range(DEGREE - 1, -1, -1):
            found = x * (found + c[N_INTERPOLANT + j * DEGREE + k])
        weights[j] = h * found
