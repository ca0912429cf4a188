"""The ring's limits, and that more never costs less."""

from __future__ import annotations

import pytest

from experiments.scale.allreduce import Link, allreduce_seconds

LINK = Link(bandwidth=1e9, latency=1e-5)


def test_one_rank_exchanges_nothing() -> None:
    assert allreduce_seconds(1e9, 1, LINK) == 0


def test_two_ranks_send_half_twice() -> None:
    assert allreduce_seconds(1e9, 2, Link(1e9, 0.0)) == pytest.approx(1.0)


def test_large_messages_take_twice_their_time_however_many_take_part() -> None:
    assert allreduce_seconds(1e12, 1000, LINK) == pytest.approx(2 * 1e12 / 1e9, rel=2e-3)


def test_small_messages_take_latencies() -> None:
    assert allreduce_seconds(0, 5, LINK) == pytest.approx(8 * 1e-5)


@pytest.mark.parametrize("size", [0.0, 1e3, 1e9])
def test_more_ranks_and_more_bytes_take_longer(size: float) -> None:
    times = [allreduce_seconds(size, k, LINK) for k in range(1, 65)]
    assert times == sorted(times)
    assert allreduce_seconds(2 * size, 8, LINK) >= allreduce_seconds(size, 8, LINK)
