"""The loss that `advise` measures, as a function of the gradient method, with its parameters and its training."""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from pynode.errors import InvalidArgument, SolveError
from pynode.methods.base import GradientMethod
from pynode.methods.disc_opt import DiscOpt
from pynode.solution import SolveStats, collected_stats
from pynode.studies.gradients.taylor import differentiable

LossOf = Callable[[GradientMethod], Tensor]
"""A scalar loss as a function of the method that solves for it."""

ITERATIONS, LEARNING_RATE = 100, 0.01
"""The short training of a loss of which no more is known."""


@dataclass(frozen=True)
class Posed:
    """A loss on one batch, and the parameters that it is differentiated by."""

    loss: LossOf
    params: Sequence[Tensor]
    samples: int = 0

    @property
    def device(self) -> torch.device:
        """Where the parameters are."""
        return self.params[0].device

    def set(self, theta: Tensor) -> None:
        """Sets the parameters to the entries of `theta` `(n_params,)`."""
        with torch.no_grad():
            for p, part in zip(self.params, theta.split([p.numel() for p in self.params]), strict=True):
                p.copy_(part.reshape(p.shape))

    def theta(self) -> Tensor:
        """The parameters as one float64 vector on the CPU `(n_params,)`."""
        return torch.cat([p.detach().reshape(-1).double().cpu() for p in self.params])


Training = Callable[[int], LossOf]
"""The loss on the batch of an iteration."""


@dataclass(frozen=True)
class Practice:
    """A training: the loss of every iteration, the parameter groups of Adam, and how long it is meant to be."""

    losses: Training
    params: Sequence[Tensor]
    groups: Callable[[], list[dict[str, Any]]]
    iterations: int
    learning_rate: float


@dataclass(frozen=True)
class Subject:
    """The loss that `advise` measures, on the batches that errors and times are measured on.

    Errors are measured on `exact`, in float64 where that can be chosen; seconds and memory on `timed`, the batch and
    the floating point type of the training.  Both have the same parameters.  `practice` is the training that settings
    are tried by, None for none.  `trained` are weights to measure at beside those that training begins with, by name.
    `rows` is what has to be said of the problem's rows, `notes` of how it is measured.
    """

    name: str
    exact: Posed
    timed: Posed
    practice: Practice | None = None
    trained: dict[str, Tensor] = field(default_factory=dict)
    config: dict[str, Any] = field(default_factory=dict)
    rows: str = ""
    notes: tuple[str, ...] = ()

    def set(self, theta: Tensor) -> None:
        """Sets the parameters of both."""
        self.exact.set(theta)
        if self.timed is not self.exact:
            self.timed.set(theta)


def loss_subject(
    loss: LossOf,
    params: Iterable[Tensor],
    *,
    name: str = "loss",
    trained: Iterable[Tensor] | None = None,
    iterations: int = ITERATIONS,
    learning_rate: float = LEARNING_RATE,
) -> Subject:
    """The subject of a loss in Python; raises `InvalidArgument` for one that can't be advised on."""
    leaves = differentiable(params)
    for p in leaves:
        if not p.requires_grad or not p.is_leaf:
            raise InvalidArgument("params", tuple(p.shape), "not a leaf that requires a gradient", "pass nn.Parameters")
    if isinstance(iterations, bool) or not isinstance(iterations, int) or iterations < 0:
        raise InvalidArgument("iterations", iterations, "not a number of iterations", "use 0 for no training")
    if not (isinstance(learning_rate, (int, float)) and 0 < learning_rate < math.inf):
        raise InvalidArgument("learning_rate", learning_rate, "not a positive number", "use e.g. 0.01")
    posed = Posed(loss, leaves)
    check_loss(posed)
    weights = {} if trained is None else {"trained": _as_vector(trained, posed)}
    practice = Practice(lambda _: loss, leaves, lambda: [{"params": leaves}], iterations, learning_rate)
    config = {"iterations": iterations, "learning_rate": learning_rate}
    return Subject(name, posed, posed, practice if iterations else None, weights, config)


def _as_vector(trained: Iterable[Tensor], posed: Posed) -> Tensor:
    parts = list(trained)
    shapes, wanted = ([tuple(t.shape) for t in tensors] for tensors in (parts, posed.params))
    if shapes != wanted:
        raise InvalidArgument("trained", shapes, f"not the shapes {wanted} of params", "pass the same tensors, trained")
    vector = torch.cat([t.detach().reshape(-1).double().cpu() for t in parts])
    if not bool(torch.isfinite(vector).all()):
        raise InvalidArgument("trained", "NaN or infinite", "no weights", "pass weights of a training that went well")
    return vector


def check_loss(posed: Posed) -> None:
    """Raises `InvalidArgument` for a loss that takes no method, solves nothing by it, is no finite scalar, reaches no
    parameter, or is another at every call.
    """
    loss = posed.loss
    if not callable(loss):
        raise InvalidArgument("loss", repr(loss), "not a function of the method", "pass e.g. lambda method: ...")
    method = DiscOpt()
    try:
        inspect.signature(loss).bind(method)
    except TypeError as error:
        problem = "does not take one argument, the gradient method"
        raise InvalidArgument("loss", _name(loss), problem, "define it as loss(method)") from error
    except ValueError:  # a builtin without a signature
        pass
    value, solves = _value(loss, method)
    if not solves:
        problem = "solves nothing by the method that it is given"
        raise InvalidArgument("loss", _name(loss), problem, "call method.solve(field, y0, ts) in it")
    if not value.requires_grad:
        raise InvalidArgument("loss", float(value.detach()), "has no gradient", "don't detach it, and use no no_grad")
    grads = torch.autograd.grad(value, list(posed.params), allow_unused=True)
    if all(g is None for g in grads):
        raise InvalidArgument("params", f"{len(grads)} tensors", "the loss depends on none of them", "pass the field's")
    again, _ = _value(loss, method)
    before, after = float(value.detach()), float(again.detach())
    if abs(before - after) > 1e-6 * max(abs(before), abs(after)):
        problem = f"differs from call to call ({before:.6g}, then {after:.6g})"
        remedy = "fix its batch and its random numbers (eval() for dropout, a seed or a pynode.Draw for probes)"
        raise InvalidArgument("loss", _name(loss), problem, remedy)


def _value(loss: LossOf, method: GradientMethod) -> tuple[Tensor, list[SolveStats]]:
    """The loss, checked to be one finite number, and its solves; with more steps where few are too coarse."""
    for steps in (1, 4, 16, 64):
        with collected_stats() as solves:
            try:
                value = loss(method if steps == 1 else DiscOpt(steps=steps))
            except SolveError:
                if steps == 64:
                    raise
                continue
        break
    if not isinstance(value, Tensor) or value.numel() != 1 or not value.is_floating_point():
        shown = f"shape {tuple(value.shape)}" if isinstance(value, Tensor) else type(value).__name__
        raise InvalidArgument("loss", shown, "not a scalar tensor", "return one number, e.g. a mean")
    if not math.isfinite(float(value.detach())):
        raise InvalidArgument("loss", float(value.detach()), "not finite", "check the data and the initial weights")
    return value.reshape(()), solves


def _name(loss: object) -> str:
    return getattr(loss, "__name__", type(loss).__name__)
