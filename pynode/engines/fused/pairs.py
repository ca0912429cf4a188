"""Embedded Runge-Kutta pairs 5(4) of seven stages whose last is the next step's first, with their interpolants.

Between t and t + h the solution is y + h sum_i b_i(x) k_i at t + x h, with polynomials b_i of degree 4 without constant
term; they need no evaluations of their own.
"""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction

STAGES = 7
DEGREE = 4
ORDER = 5


@dataclass(frozen=True)
class Pair:
    """Nodes `c`, weights `a` of the stages (the last row is the solution's), weights `e` of the error estimate.

    `interpolant` holds each b_i's coefficients of x, ..., x^4.  `exponents` are those of the PI controller (Hairer &
    Wanner, Solving ODEs II, IV.2): of this step's error, and of that of the step before.
    """

    c: tuple[float, ...]
    a: tuple[tuple[float, ...], ...]
    e: tuple[float, ...]
    interpolant: tuple[tuple[float, ...], ...]
    exponents: tuple[float, float]


def _shampine(b: list[Fraction], d: list[Fraction]) -> tuple[tuple[float, ...], ...]:
    """Dormand and Prince's interpolant by its weights `d` (Hairer, Norsett & Wanner, Solving ODEs I, II.6)."""
    found = []
    for i, (weight, free) in enumerate(zip(b, d, strict=True)):
        first, last = int(i == 0), int(i == STAGES - 1)
        bend, twist = first - weight, 2 * weight - first - last
        found.append((weight + bend, twist - bend + free, -twist - 2 * free, free))
    return tuple(tuple(float(x) for x in row) for row in found)


def _dopri5() -> Pair:
    rows = (
        "",
        "1/5",
        "3/40 9/40",
        "44/45 -56/15 32/9",
        "19372/6561 -25360/2187 64448/6561 -212/729",
        "9017/3168 -355/33 46732/5247 49/176 -5103/18656",
        "35/384 0 500/1113 125/192 -2187/6784 11/84",
    )
    a = [[Fraction(x) for x in row.split()] for row in rows]
    b = [*a[-1], Fraction(0)]
    embedded = "5179/57600 0 7571/16695 393/640 -92097/339200 187/2100 1/40"
    e = [x - Fraction(y) for x, y in zip(b, embedded.split(), strict=True)]
    free = (
        "-12715105075/11282082432 0 87487479700/32700410799 -10690763975/1880347072 701980252875/199316789632 "
        "-1453857185/822651844 69997945/29380423"
    )
    return Pair(
        tuple(float(sum(row)) for row in a),
        tuple(tuple(float(x) for x in row) for row in a),
        tuple(float(x) for x in e),
        _shampine(b, [Fraction(x) for x in free.split()]),
        (0.2 - 0.75 * 0.04, 0.04),
    )


TSIT5 = Pair(
    c=(0.0, 0.161, 0.327, 0.9, 0.9800255409045097, 1.0, 1.0),
    a=(
        (),
        (0.161,),
        (-0.008480655492356989, 0.335480655492357),
        (2.8971530571054935, -6.359448489975075, 4.3622954328695815),
        (5.325864828439257, -11.748883564062828, 7.4955393428898365, -0.09249506636175525),
        (5.86145544294642, -12.92096931784711, 8.159367898576159, -0.071584973281401, -0.028269050394068383),
        (0.09646076681806523, 0.01, 0.4798896504144996, 1.379008574103742, -3.290069515436081, 2.324710524099774),
    ),
    e=(
        -0.00178001105222577714,
        -0.0008164344596567469,
        0.007880878010261995,
        -0.1447110071732629,
        0.5823571654525552,
        -0.45808210592918697,
        0.015151515151515152,
    ),
    interpolant=(
        (1.0, -2.763706197274826, 2.9132554618219126, -1.0530884977290216),
        (0.0, 0.1317, -0.2234, 0.1017),
        (0.0, 3.9302962368947516, -5.941033872131505, 2.490627285651253),
        (0.0, -12.411077166933676, 30.33818863028232, -16.548102889244902),
        (0.0, 37.50931341651104, -88.1789048947664, 47.37952196281928),
        (0.0, -27.896526289197286, 65.09189467479366, -34.87065786149661),
        (0.0, 1.5, -4.0, 2.5),
    ),
    exponents=(0.14, 0.08),
)
"""Ch. Tsitouras, Computers & Mathematics with Applications 62 (2011) 770-775."""

PAIRS = {"dopri5": _dopri5(), "tsit5": TSIT5}
