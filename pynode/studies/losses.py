"""Losses of runs: the cost until one is reached, and the scale on which they are compared."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from statistics import median

from pynode.records.runs import Run

FALLING = 0.05
"""Share of a loss that it must fall in the last tenth of the training to be called falling."""

FALLING_NATS = 0.01
"""The same for a negative log-likelihood, whose zero means nothing, in nats."""

VALIDATION, WHILE_TRAINING = "validation loss", "training loss"

OVER_WINDOWS = "training loss over long windows"
"""What series record as their validation loss: it is measured on training rows."""

RAW, NORMAL = "test_nll_raw", "test_nll_normal"
"""Of the test rows of a user's table in its units: by the flow, and by a normal distribution."""

WITHOUT_VALIDATION = ("series",)
"""Problems that set no rows aside for validation."""


@dataclass(frozen=True)
class Spent:
    """Training seconds, NFE-F + NFE-B, all evaluations (with vector-Jacobian products), iterations.

    `solving` are the seconds of forward solve, loss and gradient, that is all but the optimiser's.
    """

    seconds: float = 0.0
    nfe: int = 0
    evaluations: int = 0
    iterations: int = 0
    solving: float = 0.0


def spent_until(run: Run, target: float) -> Spent | None:
    """Cost of all iterations before the first whose parameters have a loss of at most `target`; None if none has."""
    spent = Spent()
    for record, quality in zip(run.records, run.quality(), strict=True):
        if quality is not None and quality <= target:
            return spent
        spent = Spent(
            spent.seconds + record.seconds,
            spent.nfe + record.nfe,
            spent.evaluations + record.evaluations,
            spent.iterations + 1,
            spent.solving + record.seconds_forward + record.seconds_backward,
        )
    return None


def best_quality(run: Run) -> float:
    """The smallest loss of a run by which it is compared; infinite where there is none."""
    return min((q for q in run.quality() if q is not None), default=math.inf)


def recorded_loss(runs: Iterable[Run]) -> str:
    """What the records of `runs` have as their validation loss, in words."""
    is_series = [run.config["problem"] in WITHOUT_VALIDATION for run in runs]
    return OVER_WINDOWS if is_series and all(is_series) else VALIDATION


def compared_loss(runs: Sequence[Run]) -> str:
    """The loss by which `runs` are compared, in words: each method's own where they are `faithful`."""
    return WHILE_TRAINING if any(run.config["faithful"] for run in runs) else recorded_loss(runs)


def still_falling(groups: Mapping[str, Sequence[Run]]) -> list[str]:
    """The methods, of runs by method, whose best validation loss the last tenth of a training still lowered.

    By more than `FALLING` of it, or for likelihoods by more than `FALLING_NATS`.
    """
    return [method for method, runs in groups.items() if any(map(_was_falling, runs))]


def _was_falling(run: Run) -> bool:
    losses = [loss for loss in run.quality() if loss is not None]
    before = losses[: len(losses) - max(1, len(losses) // 10)]
    if not before:
        return False
    least = min(before)
    bound = least - FALLING_NATS if is_likelihood([run]) else (1 - FALLING) * least
    return min(losses) < bound


def against_normal(groups: Mapping[str, Sequence[Run]]) -> str | None:
    """Whether the flows of runs by method beat a normal distribution on the test rows; None where that is not known."""
    ahead: dict[str, float] = {}
    for method, runs in groups.items():
        pairs = [((run.summary or {}).get(RAW), (run.summary or {}).get(NORMAL)) for run in runs]
        known = [normal - flow for flow, normal in pairs if flow is not None and normal is not None]
        if finite := [gap for gap in known if math.isfinite(gap)]:
            ahead[method] = median(finite)
    if not ahead:
        return None
    if max(ahead.values()) <= 0:
        nats = " and ".join(f"{-gap:.3g} for {method}" for method, gap in ahead.items())
        return (
            "No flow is better on the test rows than a normal distribution with the mean and the covariance of the "
            f"training rows (NLL higher by {nats}): too few rows for this net, or too short a training."
        )
    signs = (("higher", [m for m in ahead if ahead[m] > 0]), ("lower", [m for m in ahead if ahead[m] <= 0]))
    nats = " and ".join(
        f"{word} by {' and '.join(f'{abs(ahead[m]):.3g} with {m}' for m in methods)}"
        for word, methods in signs
        if methods
    )
    return (
        f"In nats a row, the likelihood of the test rows is {nats} than that by a normal distribution with "
        "the mean and the covariance of the training rows."
    )


def is_likelihood(runs: Iterable[Run]) -> bool:
    """Whether the losses are negative log-likelihoods in nats, which have no lower bound at 0.

    Known by a `test_nll` in a summary; before there is one, by a loss that is not positive.
    """
    return any(
        "test_nll" in (run.summary or {}) or any(q is not None and q <= 0 for q in run.quality()) for run in runs
    )


def between(start: float, end: float, n: int, *, linear: bool) -> list[float]:
    """`n` losses from below `start` down to `end` itself, spaced evenly or evenly in their logarithm.

    Only `end` where it does not lie below `start`, or where it has no logarithm and one is needed.
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
