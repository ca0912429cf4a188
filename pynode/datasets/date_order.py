"""Whether the day or the month stands first in dates such as 03/04/2024, decided over a whole column."""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise
from typing import Literal, TypeAlias

Order: TypeAlias = Literal["dmy", "mdy", "ymd"]
ORDERS: dict[Order, tuple[int, int, int]] = {"dmy": (2, 1, 0), "mdy": (2, 0, 1), "ymd": (0, 1, 2)}
"""Where year, month and day stand."""
WORDS: dict[Order, str] = {"dmy": "day, month, year", "mdy": "month, day, year", "ymd": "year, month, day"}
Decision: TypeAlias = tuple[Order, str, str]
"""The order, what to say about it, and why there is none ("" where there is one)."""


def chosen_order(
    numbers: list[tuple[int, int, int]],
    long_year: bool,
    separator: str,
    example: str,
    seconds: Callable[[Order], list[float | None]],
) -> Decision:
    """The order of the three `numbers` of each date of a column.

    Only an order in which all are dates will do.  Of several, that in which the dates rise (or fall) throughout while
    those of the others don't, or in which the dates are much more evenly spaced; day first where points separate them.
    """
    orders: list[Order] = ["dmy", "mdy"] if long_year else ["dmy", "mdy", "ymd"]
    times = {order: seconds(order) for order in orders}
    valid = [order for order in orders if None not in times[order]]
    if not valid:
        return _without_all(numbers, example, times)
    if len(valid) == 1 or (separator == "." and "dmy" in valid):
        order = valid[0]
        day = next((d for d in (row[ORDERS[order][2]] for row in numbers) if d > 12), None)
        why = f"since a {day} occurs" if day and len(valid) == 1 else "as points between them mean"
        return order, f"dates such as {example} are read as {WORDS[order]}, {why}", ""
    same = len({tuple(t for t in times[order]) for order in valid}) == 1
    if same:
        return valid[0], "", ""
    known = {order: [t for t in times[order] if t is not None] for order in valid}
    turns = {order: _turns(known[order]) for order in valid}
    fewest = [order for order in valid if turns[order] == min(turns.values())]
    # several trajectories, one below the other, begin again a few times
    if len(fewest) == 1 and all(turns[o] > 4 * turns[fewest[0]] for o in valid if o != fewest[0]):
        order = fewest[0]
        return order, f"dates such as {example} are read as {WORDS[order]}, since they are then in order of time", ""
    candidates = sorted(fewest, key=lambda order: _unevenness(known[order]))
    if len(candidates) > 1:
        first, second = (_unevenness(known[order]) for order in candidates[:2])
    else:
        first = second = 1.0
    if first < 1.5 and second > 5 * first and len(numbers) > 4:
        order = candidates[0]
        return order, f"dates such as {example} are read as {WORDS[order]}, since they are then evenly spaced", ""
    told = " or ".join(WORDS[order] for order in valid)
    problem = f"dates such as {example} can be {told}: "
    return valid[0], "", problem + f"write them as year-month-day, or say which it is (date_order={valid[0]})"


def _without_all(numbers: list[tuple[int, int, int]], example: str, times: dict[Order, list[float | None]]) -> Decision:
    """No order suits all dates: that which suits nearly all, if one does."""
    suits = {order: sum(t is not None for t in each) for order, each in times.items()}
    best = max(suits, key=lambda order: suits[order])
    others = [n for order, n in suits.items() if order != best]
    if suits[best] >= 0.9 * len(numbers) and max(others) < suits[best]:
        return best, f"dates such as {example} are read as {WORDS[best]}", ""
    return (
        best,
        "",
        (
            "some dates have a day above 12 in the first place and some in the second: write all as year-month-day "
            "(2024-01-31)"
        ),
    )


def _turns(times: list[float]) -> int:
    """How many steps go against the direction of the others."""
    steps = [b - a for a, b in pairwise(times)]
    return min(sum(s < 0 for s in steps), sum(s > 0 for s in steps))


def _unevenness(times: list[float]) -> float:
    """Largest gap between different times over the smallest."""
    gaps = [abs(b - a) for a, b in pairwise(times) if b != a]
    return max(gaps) / min(gaps) if gaps else 1.0
