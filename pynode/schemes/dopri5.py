"""The pair 5(4) of Dormand and Prince (1980), seven stages, whose last is the next step's first; solver `dopri5`."""

from __future__ import annotations

from fractions import Fraction

from pynode.schemes.base import Embedded, Scheme

_ROWS = (
    "",
    "1/5",
    "3/40 9/40",
    "44/45 -56/15 32/9",
    "19372/6561 -25360/2187 64448/6561 -212/729",
    "9017/3168 -355/33 46732/5247 49/176 -5103/18656",
    "35/384 0 500/1113 125/192 -2187/6784 11/84",
)
_EMBEDDED = "5179/57600 0 7571/16695 393/640 -92097/339200 187/2100 1/40"
_FREE = (
    "-12715105075/11282082432 0 87487479700/32700410799 -10690763975/1880347072 701980252875/199316789632 "
    "-1453857185/822651844 69997945/29380423"
)


def _numbers(text: str) -> list[Fraction]:
    return [Fraction(x) for x in text.split()]


def _shampine(b: list[Fraction], free: list[Fraction]) -> tuple[tuple[float, ...], ...]:
    """Shampine's interpolant by its `free` weights (Hairer, Norsett & Wanner, Solving ODEs I, sec. II.6)."""
    rows = []
    for i, (weight, twist) in enumerate(zip(b, free, strict=True)):
        first, last = int(i == 0), int(i == len(b) - 1)
        bend = 2 * weight - first - last
        rows.append((first, bend - first + weight + twist, -bend - 2 * twist, twist))
    return tuple(tuple(float(x) for x in row) for row in rows)


_A = [_numbers(row) for row in _ROWS]
_B = [*_A[-1], Fraction(0)]

DOPRI5 = Scheme(
    name="dopri5",
    order=5,
    a=tuple(tuple(float(x) for x in row) for row in _A),
    b=tuple(float(x) for x in _B),
    c=tuple(float(sum(row)) for row in _A),
    pair=Embedded(
        error=tuple(float(x - y) for x, y in zip(_B, _numbers(_EMBEDDED), strict=True)),
        interpolant=_shampine(_B, _numbers(_FREE)),
        exponents=(0.2 - 0.75 * 0.04, 0.04),
    ),
)
