"""`pynode.advise`: which gradient method, with which settings, pays for a loss of one's own."""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from torch import Tensor

from pynode.errors import InvalidArgument, OutputDirectoryError
from pynode.methods.base import GradientMethod, method_from_json
from pynode.records.files import make_directory, write_lines
from pynode.studies.advice.adviser import measure_all
from pynode.studies.advice.budget import BUDGET
from pynode.studies.advice.cautions import cautions
from pynode.studies.advice.paste import expression
from pynode.studies.advice.recommendation import GOALS, TRAINING, Recommendation, recommend
from pynode.studies.advice.record import AdviceRecord, AdviceWeights
from pynode.studies.advice.subject import ITERATIONS, LEARNING_RATE, LossOf, Subject, loss_subject
from pynode.studies.crosscheck.case import versions
from pynode.studies.results import ADVICE, ADVICE_WEIGHTS


@dataclass(frozen=True)
class Advice:
    """What was measured, and what follows from it.

    `records` are one for each setting and set of weights, `weights` one for each set of weights.
    """

    records: tuple[AdviceRecord, ...]
    weights: tuple[AdviceWeights, ...]

    @property
    def recommendations(self) -> list[Recommendation]:
        """One for each goal."""
        return recommend(self.records, self.weights)

    @property
    def cautions(self) -> list[str]:
        """What to beware of, a sentence each."""
        return cautions(self.records, self.weights)

    def recommendation(self, goal: str = TRAINING) -> Recommendation:
        """That for `goal`, one of "training", "error 1e-2", "error 1e-4", "memory" and "safest"."""
        if goal not in GOALS:
            raise InvalidArgument("goal", repr(goal), "unknown", f"use one of {', '.join(map(repr, GOALS))}")
        return next(r for r in self.recommendations if r.goal == goal)

    def method(self, goal: str = TRAINING) -> GradientMethod:
        """The method that is recommended for `goal`; raises `InvalidArgument` where there is none."""
        recommendation = self.recommendation(goal)
        if recommendation.record is None:
            raise InvalidArgument("goal", repr(goal), recommendation.why, "choose another, or a larger budget")
        return method_from_json({"method": recommendation.record.method, **recommendation.record.options})

    def save(self, directory: str | Path, *, overwrite: bool = False) -> Path:
        """Writes the records to a directory, which `pynode show DIRECTORY` renders; returns the directory.

        Raises `OutputDirectoryError` where nothing can be written, or where the directory holds advice already, unless
        `overwrite`.
        """
        target = make_directory(Path(directory))
        if not overwrite and any((target / name).exists() for name in (ADVICE, ADVICE_WEIGHTS)):
            raise OutputDirectoryError(f"directory {target}: holds advice; choose another one, or pass overwrite=True")
        write_lines(target / ADVICE_WEIGHTS, self.weights)
        write_lines(target / ADVICE, self.records)
        return target

    def __str__(self) -> str:
        lines = []
        for r in self.recommendations:
            lines.append(f"{GOALS[r.goal]}:")
            if r.record is None:
                lines.append(f"    none: {r.why}")
                continue
            lines += [f"    {expression(r.record.method, r.record.options)}", f"    {r.sure}: {r.why}"]
            lines += [f"    but {doubt.text}" for doubt in r.doubts]
        return "\n".join([*lines, *self.cautions]).replace("--budget", "budget")  # records have it as it is typed


def advise(
    loss: LossOf,
    params: Iterable[Tensor],
    *,
    trained: Iterable[Tensor] | None = None,
    budget: float = BUDGET,
    iterations: int = ITERATIONS,
    learning_rate: float = LEARNING_RATE,
    name: str = "loss",
    progress: Callable[[str], None] | None = None,
) -> Advice:
    """Measures gradient error and cost of both methods on `loss(method)`, and recommends a setting for each goal.

    `loss` is a function of the method, such as `lambda method: method.solve(field, y0, ts).ys[-1].square().mean()`, and
    the same at every call.  It is measured at the present values of `params` and, where given, at the values `trained`
    (tensors of the same shapes).  To see costs as they are in training, it is trained for `iterations` of Adam at
    `learning_rate` besides (0: not at all); `params` are then put back.  Buffers are not: where modules keep running
    statistics, pass a loss of a copy, or of modules in `eval()`.  All takes about `budget` seconds.  Errors are
    relative to the gradient of the continuous problem; use float64, or they end at 1e-6.

        field = pynode.MLP((2, 32, 2)).build()
        advice = pynode.advise(
            lambda method: (method.solve(field, y0, ts).ys - data).square().mean(), field.parameters()
        )
        print(advice)
        method = advice.method()

    Raises `InvalidArgument`, before anything is measured, for a loss that is no finite scalar, takes no method, solves
    nothing by it or is random, and for parameters without a gradient; `SolveError` where no reference can be computed.
    """
    subject = loss_subject(loss, params, name=name, trained=trained, iterations=iterations, learning_rate=learning_rate)
    return advise_on(subject, budget=budget, progress=progress)


def advise_on(
    subject: Subject,
    *,
    budget: float = BUDGET,
    progress: Callable[[str], None] | None = None,
    environment: dict[str, Any] | None = None,
) -> Advice:
    """Advice on a subject; `environment` goes into the records."""
    if isinstance(budget, bool) or not (isinstance(budget, (int, float)) and 0 < budget < math.inf):
        raise InvalidArgument("budget", budget, "not a positive number of seconds", "use e.g. 60")
    known = measure_all(subject, float(budget), progress or (lambda _: None))
    made = environment if environment is not None else {**versions(), "cores": os.cpu_count()}
    weights = tuple(replace(w, environment=made) for w in known.weights.values())
    return Advice(tuple(known.records.values()), weights)
