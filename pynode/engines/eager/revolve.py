"""Binomial checkpointing: which states to store so that a chain of steps is reversed with the least advancing.

Griewank & Walther 2000, Algorithm 799: revolve, ACM Trans. Math. Softw. 26(1), 19-45, doi 10.1145/347837.347846;
Griewank 1992, Optim. Methods Softw. 1, 35-54.

A chain of n steps leads from the state y_0 to y_n; step i, from y_i to y_{i+1}, can only be reversed with y_i at hand.
Beside y_0, which is always there, up to `budget` states are stored at a time; one more, the state in work, is what a
step starts from and is not counted, as in the source.  The source counts y_0 as stored, so its s is `budget` + 1 here.
"""

from __future__ import annotations

from collections.abc import Iterator
from enum import Enum
from math import comb
from typing import NamedTuple

from pynode.errors import InvalidArgument


class Do(Enum):
    """What to do next with the state in work y and the stack of stored states, which holds y_0 when it all begins."""

    ADVANCE = "take steps from y until it is y_i"
    STORE = "push y, which is y_i, onto the stack"
    RESTORE = "y becomes the top of the stack, y_i, which stays there"
    TAKE = "y becomes the top of the stack, y_i, which leaves it"
    REVERSE = "y is y_i: rebuild step i from it and reverse that step"


class Action(NamedTuple):
    """One action of a schedule: what, and the number i of the state or step."""

    do: Do
    i: int


def beta(s: int, r: int) -> int:
    """C(s + r, s): the longest chain that s stored states, y_0 among them, reverse with no step advanced over r times.

    Prop. 1 of the source; 0 for r < 0.
    """
    return comb(s + r, s) if r >= 0 else 0


def repetitions(n: int, budget: int) -> int:
    """The r of the theory: the smallest with n <= beta(budget + 1, r); no step is advanced over more than r times."""
    check_chain(n, budget)
    r = 0
    while beta(budget + 1, r) < n:
        r += 1
    return r


def fewest_advances(n: int, budget: int) -> int:
    """t(n, s) = r n - beta(s + 1, r - 1) with s = `budget` + 1: the fewest steps of ADVANCE by which n are reversed.

    Prop. 1 of the source: the solution of t(n, s) = min over 0 < m < n of m + t(n - m, s - 1) + t(m, s), t(1, s) = 0.
    The first sweep from y_0 to y_{n-1} is counted, the n steps that are rebuilt when they are reversed are not.
    """
    r = repetitions(n, budget)
    return r * n - beta(budget + 2, r - 1)


def smallest_budget(n: int, r: int) -> int:
    """The smallest budget, at least 1, by which no step of n is advanced over more than `r` times, `r` at least 1."""
    budget = 1
    while beta(budget + 1, r) < n:
        budget += 1
    return budget


def actions(n: int, budget: int) -> Iterator[Action]:
    """The schedule that reverses the steps n - 1, ..., 0 in that order with `fewest_advances(n, budget)` advances.

    All up to the first REVERSE, steps and stored states of the first sweep, can be done while the states are first
    computed.  Never more than `budget` states beside y_0 lie on the stack.

    Raises `InvalidArgument` unless n and `budget` are at least 1.
    """
    check_chain(n, budget)
    stack, here, end = [0], 0, n  # steps `end` and later have been reversed
    while end > 0:
        if here != stack[-1]:
            here = stack[-1]
            yield Action(Do.TAKE if here == end - 1 else Do.RESTORE, here)
        while end - here > 1:
            # the state at hand counts among the stored ones of the chain that begins there
            here += _advance(end - here, budget + 2 - len(stack))
            yield Action(Do.ADVANCE, here)
            if end - here > 1:
                stack.append(here)
                yield Action(Do.STORE, here)
        yield Action(Do.REVERSE, here)
        end = here
        if stack[-1] == here:
            stack.pop()


def _advance(n: int, s: int) -> int:
    """An m that attains the minimum in the recursion of t(n, s), for n > 1.

    Those are, with beta(s, r - 1) < n <= beta(s, r), the m with beta(s, r - 2) <= m <= beta(s, r - 1) and
    beta(s - 1, r - 1) <= n - m <= beta(s - 1, r); this is the largest of them.
    """
    r = repetitions(n, s - 1) if s > 1 else n - 1
    return min(beta(s, r - 1), n - beta(s - 1, r - 1))


def check_chain(n: int, budget: int) -> None:
    """Raises `InvalidArgument` unless there is a step to reverse and a state to store."""
    for argument, value in (("n", n), ("budget", budget)):
        if value < 1:
            raise InvalidArgument(argument, value, "not a positive integer", "use 1 or more")
