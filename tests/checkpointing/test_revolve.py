"""The schedule attains the optimum that brute force finds, within its budget, for every short chain."""

from __future__ import annotations

from collections import Counter
from functools import cache

import pytest

from pynode.engines.eager.revolve import Do, actions, beta, fewest_advances, repetitions, smallest_budget
from pynode.errors import InvalidArgument


@cache
def optimum(n: int, s: int) -> float:
    """The fewest advances that reverse n steps with s stored states, the first one among them: every split tried."""
    if n == 1:
        return 0
    if s == 0:
        return float("inf")
    return min(m + optimum(n - m, s - 1) + optimum(m, s) for m in range(1, n))


def carried_out(n: int, budget: int) -> tuple[list[int], Counter[int], int]:
    """Steps in the order they are reversed, how often each was advanced over, and the most states on the stack."""
    stack, y = [0], 0
    reversed_steps: list[int] = []
    advances: Counter[int] = Counter()
    highest = 0
    for do, i in actions(n, budget):
        if do is Do.ADVANCE:
            assert i > y
            advances.update(range(y, i))
            y = i
        elif do is Do.STORE:
            assert i == y > stack[-1]
            stack.append(i)
        elif do is Do.REVERSE:
            assert i == y
            reversed_steps.append(i)
            y = -1  # spent
        else:
            assert i == stack[-1]
            y = stack.pop() if do is Do.TAKE else stack[-1]
        highest = max(highest, len([i for i in stack if i > 0]))
    assert stack == ([0] if n == 1 else [])  # one step is reversed from y_0, the state in work when all begins
    return reversed_steps, advances, highest


@pytest.mark.parametrize("budget", range(1, 11))
def test_the_schedule_is_valid_and_optimal(budget: int) -> None:
    for n in range(1, 41):
        order, advances, highest = carried_out(n, budget)
        assert order == list(reversed(range(n)))
        assert highest <= budget
        assert sum(advances.values()) == fewest_advances(n, budget) == optimum(n, budget + 1)
        assert max(advances.values(), default=0) == repetitions(n, budget)


@pytest.mark.parametrize(("n", "budget"), [(1000, 1), (1000, 7), (5000, 3), (5000, 98), (3000, 4000)])
def test_long_chains(n: int, budget: int) -> None:
    """Longer than Python's recursion goes deep."""
    order, advances, highest = carried_out(n, budget)
    assert order == list(reversed(range(n)))
    assert highest <= budget
    assert sum(advances.values()) == fewest_advances(n, budget)


def test_known_values() -> None:
    """One stored state beside y_0; all that are needed; y_0 alone would take n (n - 1) / 2."""
    assert [fewest_advances(n, 1) for n in range(1, 8)] == [0, 1, 2, 4, 6, 8, 11]
    assert all(fewest_advances(n, max(1, n - 2)) == n - 1 for n in range(1, 60))
    assert optimum(12, 1) == 66
    assert [beta(3, r) for r in range(-1, 4)] == [0, 1, 4, 10, 20]


def test_the_smallest_budget() -> None:
    """By which no step is advanced over more than r times: about sqrt(2 n) for r = 2."""
    for n in range(1, 200):
        for r in (1, 2, 3):
            budget = smallest_budget(n, r)
            assert repetitions(n, budget) <= r
            assert budget == 1 or repetitions(n, budget - 1) > r
    assert [smallest_budget(n, 2) for n in (1, 6, 7, 100, 400, 10_000)] == [1, 1, 2, 12, 26, 139]


@pytest.mark.parametrize(("n", "budget", "argument"), [(0, 1, "n"), (3, 0, "budget"), (3, -1, "budget")])
def test_impossible_chains_are_named(n: int, budget: int, argument: str) -> None:
    with pytest.raises(InvalidArgument) as caught:
        list(actions(n, budget))
    assert caught.value.argument == argument
