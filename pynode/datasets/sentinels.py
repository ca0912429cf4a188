"""Numbers that stand for missing values, such as -999: seen where they lie far outside the rest of a column."""

from __future__ import annotations

import numpy as np

from pynode.datasets.splits import Array

KNOWN = tuple(
    sorted(
        {sign * float(number) for number in (99, 999, 9999, 99999, 999999, 9999999) for sign in (1, -1)}
        | {sign * number for number in (99.9, 999.9, 9999.9, 99.99, 999.99, 9999.99, 99999.9) for sign in (1, -1)}
        | {-99.0, -888.0, -8888.0, -7777.0, -32768.0, 32767.0, 1e20, -1e20, 1e30, -1e30, 9.96921e36, -1e34, -6999.0}
    )
)
"""What loggers and archives write for a missing value."""

FAR = 3.0
"""How many ranges of the other values away such a number lies at least."""

OTHERS = 5
"""Different other values from which on their range says something."""


def sentinels(values: Array) -> list[float]:
    """Which of the known numbers stand for missing values in a column `(rows,)`.

    Such a number occurs at least twice (once, if it is ten ranges away) and lies `FAR` ranges of the others outside of
    them; or it is one of -999, -9999, ... in a column whose other values are not negative.
    """
    present = values[np.isfinite(values)]
    if (np.diff(present) > 0).all():
        return []  # times
    codes = []
    for known in KNOWN:
        count = int((present == known).sum())
        if count:
            codes.append((abs(known), known, count))
    taken: list[float] = []
    for _, known, count in sorted(codes, reverse=True):
        others = present[(present != known) & ~np.isin(present, taken)]
        distinct = np.unique(others)
        if len(distinct) < OTHERS or count > 0.9 * len(present):
            continue
        low, high = float(distinct[0]), float(distinct[-1])
        distance = max(low - known, known - high)
        reach = max(high - low, 1e-9)
        whole = known <= -99 and set(str(int(-known))) == {"9"} and known == int(known)
        negative = whole and known <= -999 and low >= 0 and count > 1
        # the others of one sign, none near: a value of their own kind that reaches so far is not to be expected
        if distance > 0 and (negative or (count > 1 and distance > FAR * reach) or distance > 10 * reach >= 0):
            if count == 1 and abs(known) < 999:
                continue
            taken.append(known)
    return taken
