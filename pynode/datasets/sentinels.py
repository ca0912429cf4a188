"""Numbers that stand for missing values, such as -999: seen where they lie far outside the rest of a column."""

from __future__ import annotations

from collections.abc import Collection

import numpy as np

from pynode.datasets.splits import Array

KNOWN = tuple(
    sorted(
        {sign * float(number) for number in (99, 999, 9999, 99999, 999999, 9999999) for sign in (1, -1)}
        | {sign * number for number in (99.9, 999.9, 9999.9, 99.99, 999.99, 9999.99, 99999.9) for sign in (1, -1)}
        | {-99.0, -888.0, -8888.0, -7777.0, -32768.0, 32767.0, 1e20, -1e20, 1e30, -1e30, 9.96921e36, -1e34, -6999.0}
        | {-999.25, 65535.0, 2147483647.0, -2147483648.0, 4294967295.0, 1.70141e38, 1.70141183e38, 3.4028235e38}
    )
)
"""What loggers and archives write for a missing value."""

FAR = 3.0
"""How many ranges of the other values away such a number lies at least."""

TURN = (-180.0, 360.0)
"""Between these lie directions in degrees, for which 999 is a missing one although it is not far from them."""
PASSED = 240.0
"""Range of directions that make a column one of these."""

OTHERS = 5
"""Different other values from which on their range says something."""


def sentinels(values: Array, elsewhere: Collection[float] = ()) -> list[float]:
    """Which of the known numbers stand for missing values in a column `(rows,)`.

    Such a number occurs at least twice (once, if it is ten ranges away) and lies `FAR` ranges of the others outside of
    them; or it is one of -999, -9999, ... in a column whose other values are not negative, or one of 999, 9999, ... in
    a column of directions in degrees.  One that stands for missing values `elsewhere` in the file does so here if it
    lies a range of the others outside of them.
    """
    present = values[np.isfinite(values)]
    if (np.diff(present) > 0).all():
        return []  # times
    codes = [(abs(known), known) for known in KNOWN if (present == known).any()]
    taken: list[float] = []
    for _, known in sorted(codes, reverse=True):
        others = present[~np.isin(present, [*taken, known])]
        count = int((present == known).sum())
        if len(others) and count <= 0.9 * len(present) and _is_code(known, count, others, known in elsewhere):
            taken.append(known)
    return taken


def _is_code(known: float, count: int, others: Array, elsewhere: bool) -> bool:
    low, high = float(others.min()), float(others.max())
    distance, reach = max(low - known, known - high), max(high - low, 1e-9)
    if distance <= 0:
        return False
    nines = set(f"{-known:.0f}") == {"9"} and known == round(known)
    if nines and known <= -999 and low >= 0 and (count > 1 or elsewhere):
        return True
    if len(np.unique(others)) < OTHERS:
        return False
    is_turn = low >= TURN[0] and high <= TURN[1] and high - low >= PASSED
    if is_turn and known >= 999 and set(f"{known:.10g}") == {"9"} and (count > 1 or elsewhere):
        return True
    if elsewhere and distance > reach:
        return True
    return (count > 1 and distance > FAR * reach) or (abs(known) >= 999 and distance > 10 * reach)
