"""On which scale losses are seen: a logarithm for sums of squares, which end at 0; none for log-likelihoods."""

from __future__ import annotations

from collections.abc import Iterable

from pynode.records.results import Run


def is_likelihood(runs: Iterable[Run]) -> bool:
    """Whether the losses are negative log-likelihoods in nats, which have no lower bound at 0.

    Known by a `test_nll` in a summary; before there is one, by a loss that is not positive.
    """
    return any(
        "test_nll" in (run.summary or {}) or any(q is not None and q <= 0 for q in run.quality()) for run in runs
    )


def between(start: float, end: float, n: int, *, linear: bool) -> list[float]:
    """`n` losses from below `start` down to `end` itself, spaced evenly or evenly in their logarithm.

    Only `end` where it does not lie below `start`, or where a logarithm would be needed that there is not.
    """
    if not end < start or not (linear or end > 0):
        return [end]
    shares = [k / n for k in range(1, n)]
    if linear:
        return [*(start + (end - start) * share for share in shares), end]
    return [*(start * (end / start) ** share for share in shares), end]


def upper_limit(losses: list[float], share: float = 0.9) -> float:
    """Where to cut an axis of negative log-likelihoods: so that the first, often huge ones don't flatten the rest.

    A quarter above the `share`-quantile as seen from the smallest, or the largest loss if that is less.
    """
    ordered = sorted(losses)
    low, high = ordered[0], ordered[-1]
    quantile = ordered[min(int(share * len(ordered)), len(ordered) - 1)]
    return min(high, low + 1.25 * (quantile - low))
