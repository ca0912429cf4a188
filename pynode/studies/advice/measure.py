"""One setting measured at the weights that are set: its gradient's error, its counts, a first time, and its memory."""

from __future__ import annotations

import time
import warnings
from collections.abc import Callable
from dataclasses import replace

from torch import Tensor

from pynode.errors import EngineUnavailable, InvalidArgument, SolveError
from pynode.memory import peak_bytes
from pynode.methods import METHODS
from pynode.methods.base import GradientMethod
from pynode.methods.opt_disc import OptDisc
from pynode.records.files import finite
from pynode.solution import SolveStats, collected_stats
from pynode.studies.advice.record import AdviceRecord
from pynode.studies.advice.reference import Reference
from pynode.studies.advice.subject import Posed
from pynode.studies.gradients.oracle import flat_gradient


def empty_record(problem: str, weights: str, method: GradientMethod) -> AdviceRecord:
    """The record of a setting before anything is measured of it."""
    return AdviceRecord(
        problem=problem,
        weights=weights,
        method=method.name,
        label=label_of(method),
        family=_family(method),
        adaptive=method.adaptive,
        setting=method.setting,
        options={name: value for name, value in method.to_json().items() if name != "method"},
        outside=METHODS.origin(method.name) is not None,
    )


def label_of(method: GradientMethod) -> str:
    """The label, with the choices that it says nothing about."""
    return "-".join((method.label, *_choices(method)))


def _family(method: GradientMethod) -> str:
    """What stays the same when only the accuracy changes."""
    return " ".join((method.family, *_choices(method)))


def _choices(method: GradientMethod) -> list[str]:
    choices: list[str] = []
    if isinstance(method, OptDisc):
        known = method.family.split()
        choices += [method.adjoint] * (method.adjoint not in known and method.adjoint != "interpolating")
        choices += [method.adjoint_norm] * (method.adjoint_norm != "mixed")
        choices += ["landing"] * method.landing
    memory = getattr(method, "memory", "store")
    if memory != "store":
        budget = getattr(method, "budget", None)
        choices.append(memory if budget is None else f"{memory}{budget}")
    if method.engine_name != "auto" and method.engine_name not in method.family:
        choices.append(method.engine_name)
    return choices


def shown(method: GradientMethod) -> GradientMethod:
    """The method as it is measured: a drift of the backward solve is noted, and no error."""
    return replace(method, drift="ignore") if isinstance(method, OptDisc) else method


def measured(posed: Posed, method: GradientMethod, reference: Reference, record: AdviceRecord) -> AdviceRecord:
    """`record` with error, counts and a first time of `method` at the weights of `posed`; a failure is in words.

    Raises `EngineUnavailable` or `InvalidArgument` for a method that can't solve this at all.
    """
    try:
        with collected_stats() as solves, warnings.catch_warnings():
            warnings.simplefilter("ignore")
            began = time.perf_counter()
            loss = posed.loss(shown(method))
            gradient = flat_gradient(loss, posed.params).cpu()
            seconds = time.perf_counter() - began
    except SolveError as error:
        return replace(record, failure=str(error))
    value = float(loss.detach())
    stats = sum(solves, SolveStats())
    off = float((gradient - reference.gradient).norm())
    error_of = off / reference.norm if reference.norm else float(off > 0)
    failure = None if finite(error_of) is not None and finite(value) is not None else "the loss or its gradient is NaN"
    return replace(
        record,
        engine=stats.engine,
        error=finite(error_of),
        loss=finite(value),
        loss_error=finite(value - reference.loss),
        nfe_forward=stats.nfe_forward,
        nfe_backward=stats.nfe_backward,
        n_vjp=stats.forward.n_vjp + stats.backward.n_vjp,
        steps=stats.forward.n_accepted,
        rejected=stats.forward.n_rejected,
        first_seconds=seconds,
        drift=None if stats.drift is None else finite(stats.drift),
        failure=failure,
    )


def work_of(posed: Posed, method: GradientMethod) -> Callable[[], Tensor]:
    """One loss and gradient, to be timed."""

    def work() -> Tensor:
        return flat_gradient(posed.loss(shown(method)), posed.params)

    return work


def memory_of(posed: Posed, method: GradientMethod) -> int | None:
    """Peak memory of one loss and gradient, in bytes; None where it fails or another process has it."""
    if method.own_process:
        return None
    try:
        return peak_bytes(work_of(posed, method), posed.device)
    except (SolveError, EngineUnavailable, InvalidArgument):
        return None
