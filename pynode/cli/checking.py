"""Gradient checks of a planned run, recorded in its results directory."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pynode.errors import InvalidArgument

if TYPE_CHECKING:
    from torch import Tensor

    from pynode.cli.console import PlainConsole
    from pynode.methods.base import GradientMethod
    from pynode.problems.base import Problem
    from pynode.studies.gradients.timing import Repeats
    from pynode.training.config import RunConfig


def check_taylor(configs: list[RunConfig], directory: Path, console: PlainConsole) -> None:
    """One Taylor test per method (of the first seed) at the untrained weights, recorded in `directory`."""
    from pynode.errors import NonFiniteLoss, SolveError
    from pynode.methods import METHODS
    from pynode.records.files import finite, write_lines
    from pynode.records.table_data import mark_of
    from pynode.studies.gradients.record import TaylorRecord
    from pynode.studies.gradients.taylor import taylor_test
    from pynode.studies.results import TAYLOR

    records = []
    # in float64 whatever the training's dtype: rounding would hide what is looked for
    first = [replace(c, dtype="float64") for c in configs if c.seed == configs[0].seed and c.multilevel is None]
    with console.status("Taylor tests"):
        for run in first:
            problem = run.make_problem()
            model, batch = problem.model(run.seed), problem.check_batch()
            try:
                result = taylor_test(
                    lambda p=problem, c=run, m=model, b=batch: p.objective(c.method, m, b).loss,  # type: ignore[misc]
                    list(model.parameters()),
                )
            except (SolveError, NonFiniteLoss) as error:  # nothing to test: the training has said so as well
                console.say(f"no Taylor test of {run.method.label}: {error}")
                continue
            records.append(
                TaylorRecord(
                    problem=run.problem,
                    method=run.method.name,
                    label=run.method.label,
                    h=list(result.h),
                    e0=[finite(e) for e in result.e0],
                    e1=[finite(e) for e in result.e1],
                    slope_e0=finite(result.slope_e0),
                    slope_e1=finite(result.slope_e1),
                    fitted=list(result.fitted),
                    passes=result.passes,
                    bound=finite(result.bound),
                    verdict=result.verdict,
                    outside=METHODS.origin(run.method.name) is not None,
                    rows=mark_of(problem.data_record()),
                )
            )
    write_lines(directory / TAYLOR, records)


def check_errors(
    run: RunConfig,
    directory: Path,
    console: PlainConsole,
    *,
    grid: list[GradientMethod] | None = None,
    weights: Mapping[str, Tensor | None] | None = None,
    samples: int | None = None,
    repeats: Repeats | None = None,
    backend: str = "torch",
) -> None:
    """The gradient-error study on the problem of `run`, recorded when complete.

    At the untrained weights, or at each of `weights`: a name, and theta `(n_params,)` or None for the untrained ones.
    On the batch that checks use, or `samples` rows of a density's first batch.  In float64, whatever the run's dtype.
    """
    from pynode.records.files import append_line
    from pynode.records.table_data import mark_of
    from pynode.studies.gradients.errors import gradient_errors, study_grid
    from pynode.studies.gradients.record import UNTRAINED
    from pynode.studies.results import ERRORS

    problem = replace(run, dtype="float64").make_problem()
    batch, rows = _check_batch(problem, samples), mark_of(problem.data_record())
    beside = directory / f".{ERRORS}.tmp"  # earlier records stay until there are new ones
    beside.unlink(missing_ok=True)
    with console.status("gradient errors") as status:
        for name, theta in (weights or {UNTRAINED: None}).items():
            model = problem.model(run.seed)
            if theta is not None:
                model.set_theta(theta)
            for record in gradient_errors(
                lambda method, model=model: problem.objective(method, model, batch),  # type: ignore[misc]
                list(model.parameters()),
                study_grid(backend=backend) if grid is None else grid,
                problem=run.problem,
                repeats=5 if repeats is None else repeats,
            ):
                append_line(beside, replace(record, weights=name, samples=_samples(batch), rows=rows))
                status.update(f"gradient errors: {record.label}, {name}")
    beside.replace(directory / ERRORS)


def check_precisions(
    run: RunConfig,
    precisions: list[str],
    directory: Path,
    console: PlainConsole,
    *,
    grid: list[GradientMethod],
    weights: Mapping[str, Tensor | None],
    samples: int | None = None,
) -> None:
    """Errors of gradients in float32 with products in each of `precisions`, recorded when complete.

    At each of `weights`, on the batch of `check_errors`, by the methods of `grid` that take fixed steps.
    """
    from pynode.records.files import append_line
    from pynode.records.table_data import mark_of
    from pynode.studies.gradients.precisions import precision_errors
    from pynode.studies.results import PRECISIONS

    problems = [replace(run, dtype=dtype, precision="full").make_problem() for dtype in ("float64", "float32")]
    batches, rows = [_check_batch(p, samples) for p in problems], mark_of(problems[0].data_record())
    beside = directory / f".{PRECISIONS}.tmp"
    beside.unlink(missing_ok=True)
    with console.status("gradient errors by precision") as status:
        for name, theta in weights.items():
            models = [problem.model(run.seed) for problem in problems]
            for model in models:
                model.set_theta(models[0].theta() if theta is None else theta)
            exact, single = (
                (lambda method, p=p, m=m, b=b: p.objective(method, m, b), list(m.parameters()))
                for p, m, b in zip(problems, models, batches, strict=True)
            )
            for record in precision_errors(exact, single, grid, precisions, problem=run.problem):
                append_line(beside, replace(record, weights=name, samples=_samples(batches[0]), rows=rows))
                status.update(f"gradient errors: {record.label}, {record.precision}, {name}")
    beside.replace(directory / PRECISIONS)


def check_samples(problem: Problem, samples: int | None) -> None:
    """Raises `InvalidArgument` where a batch of `problem` does not have so many samples."""
    from pynode.problems.density.base import Density

    if samples is None:
        return
    if not isinstance(problem, Density):
        raise InvalidArgument("--samples", samples, f"{problem.name} is fitted to one trajectory", "drop it")
    if samples > problem.batch_rows:
        more = f"more than the {problem.batch_rows:,} of a batch"
        raise InvalidArgument("--samples", samples, more, "use fewer, or a larger batch by --set batch=N")


def _check_batch(problem: Problem, samples: int | None) -> Any:
    """What gradients are checked on; raises as `check_samples` does."""
    from pynode.problems.density.base import Density

    check_samples(problem, samples)
    if samples is None:
        return problem.check_batch()
    assert isinstance(problem, Density)
    return problem.first_batch(samples)


def _samples(batch: Any) -> int:
    """Samples of a batch: 1 where it is a trajectory."""
    from pynode.problems.density.base import FlowBatch

    return len(batch.x) if isinstance(batch, FlowBatch) else 1
