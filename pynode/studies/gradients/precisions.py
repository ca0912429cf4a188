"""How far gradients in float32 are off, with matrix products in full or in reduced precision."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace

from torch import Tensor

from pynode.clock import Clock
from pynode.errors import SolveError, UsageError
from pynode.methods.base import GradientMethod
from pynode.precision import products_in
from pynode.records.files import finite
from pynode.solution import collected_stats
from pynode.studies.gradients.errors import ObjectiveOf
from pynode.studies.gradients.oracle import flat_gradient
from pynode.studies.gradients.record import PrecisionErrorRecord
from pynode.studies.gradients.timing import Repeats, timed

REPEATS = Repeats(3, most=20)


def precision_errors(
    exact: tuple[ObjectiveOf, Sequence[Tensor]],
    single: tuple[ObjectiveOf, Sequence[Tensor]],
    methods: Iterable[GradientMethod],
    precisions: Iterable[str],
    *,
    problem: str = "user",
) -> Iterator[PrecisionErrorRecord]:
    """Error and time of gradients in float32, for each of `methods` by fixed steps and each of `precisions`.

    `exact` and `single` are a loss as a function of the method, with the parameters: the same numbers in float64 and in
    float32.  Adaptive methods are left out, since rounding changes their steps.
    """
    precisions = list(precisions)
    for method in methods:
        if method.adaptive:
            continue
        truth: Tensor | None = None
        for precision in precisions:
            empty = PrecisionErrorRecord(
                problem=problem,
                method=method.name,
                label=method.label,
                family=method.family,
                setting=method.setting,
                precision=precision,
                device=single[1][0].device.type,
                n_params=sum(p.numel() for p in single[1]),
            )
            try:
                truth = _gradient(exact, method) if truth is None else truth
                with products_in(precision):
                    with collected_stats() as solves:
                        gradient = _gradient(single, method)
                    clock = Clock(single[1][0].device)
                    timing = timed(lambda method=method: _gradient(single, method), clock, REPEATS)  # type: ignore[misc]
            except (SolveError, UsageError) as error:
                yield replace(empty, failure=str(error))
                continue
            yield replace(
                empty,
                error=finite(float((gradient - truth).norm() / truth.norm())),
                seconds=timing.seconds,
                engine="/".join(sorted({stats.engine for stats in solves})),
            )


def _gradient(posed: tuple[ObjectiveOf, Sequence[Tensor]], method: GradientMethod) -> Tensor:
    objective, params = posed
    result = objective(method)
    return flat_gradient(result if isinstance(result, Tensor) else result.loss, params)
