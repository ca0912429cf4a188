"""Counting and checking the calls of a user's vector field."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from pynode.errors import InvalidArgument, StateChangedInPlace, StateMismatch
from pynode.solution import Cost
from pynode.transforms import is_transformed
from pynode.types import State, VectorField


class CountedField:
    """A vector field whose calls are counted into `cost`, which `counting_into` redirects (forward, then backward).

    Every call checks that f(t, y) fits y, since broadcasting would hide the mistake, and that y and t are left alone:
    raises `StateMismatch` or `StateChangedInPlace`.  A slope of another floating point dtype, as under autocast, is
    converted to that of y.
    """

    def __init__(self, f: VectorField, cost: Cost) -> None:
        self.f, self.cost = f, cost
        self._transformed = is_transformed()
        self._checked = False

    def __call__(self, t: Tensor, y: State) -> State:
        self.cost.n_f += 1
        if self._transformed:
            dy = self.f(t, y)
        elif y.is_inference() or t.is_inference():
            dy = self._call_without_versions(t, y)
        else:
            versions = y._version, t._version
            try:
                dy = self.f(t, y)
            except (RuntimeError, TypeError) as error:
                if (plain := _in_plain_words(error, t, y)) is not None:
                    raise plain from error
                raise
            if versions != (y._version, t._version):
                raise _changed("y" if versions[0] != y._version else "t")
            if type(dy) is Tensor and dy.is_inference() and not torch.is_inference_mode_enabled():
                raise StateMismatch(
                    "f(t, y) was computed inside torch.inference_mode(), so that nothing can be differentiated by it; "
                    "leave that out of the field, and solve inside torch.no_grad() where no gradient is needed"
                )
        if type(dy) is not Tensor or dy.shape != y.shape or dy.dtype is not y.dtype or dy.device != y.device:
            return fitting_derivative(dy, y)
        return dy

    def _call_without_versions(self, t: Tensor, y: State) -> State:
        """A call in inference mode, where tensors count no changes: the first one is checked by a copy."""
        if self._checked:
            return self.f(t, y)
        before = t.clone(), y.clone()
        dy = self.f(t, y)
        for name, x, copy in (("t", t, before[0]), ("y", y, before[1])):
            if not torch.equal(x, copy):
                raise _changed(name)
        self._checked = True
        return dy

    @contextmanager
    def counting_into(self, cost: Cost) -> Iterator[None]:
        """Calls inside the block count into `cost`."""
        before, self.cost = self.cost, cost
        try:
            yield
        finally:
            self.cost = before


UNLIKE_DTYPES = ("must have the same dtype", "to have the same dtype", "expected scalar type", "have different dtypes")
"""Parts of what torch says where an operator is given tensors of several dtypes."""


def _in_plain_words(error: Exception, t: Tensor, y: State) -> Exception | None:
    """What is wrong with a field that raised `error` at (t, y), where that is a known mistake."""
    said = str(error)
    if isinstance(error, TypeError):
        frame = error.__traceback__
        while frame is not None and frame.tb_next is not None:
            frame = frame.tb_next
        raised_in = frame.tb_frame.f_globals.get("__name__") if frame is not None else None
        if "positional argument" not in said or raised_in not in (__name__, "torch.nn.modules.module"):
            return None
        return InvalidArgument("field", said, "it can't be called as field(t, y)", "let it take the time and the state")
    if y.requires_grad and y.is_leaf and "leaf Variable that requires grad is being used" in said:
        return _changed("y")
    if "is a view and is being modified inplace" in said:
        return _changed("t" if t.requires_grad and t._is_view() else "y")
    if any(words in said for words in UNLIKE_DTYPES):
        return StateMismatch(
            f"f(t, y) can't compute with a state of {y.dtype} ({said.splitlines()[0]}); make both the same, e.g. "
            "field.double() or y0.float(), or solve under torch.autocast"
        )
    return None


def checked_params(params: object, argument: str = "params") -> tuple[Tensor, ...]:
    """`params` as a tuple, empty for None; raises `InvalidArgument` unless it holds tensors."""
    if params is None:
        return ()
    listed = isinstance(params, Iterable) and not isinstance(params, (Tensor, nn.Module, str))
    tensors = tuple(params) if listed and isinstance(params, Iterable) else (None,)
    if not all(isinstance(p, Tensor) for p in tensors):
        shown = type(params).__name__ if isinstance(params, (Tensor, nn.Module)) else repr(params)
        remedy = f"pass the tensors that the field reads, e.g. {argument}=[context] or list(encoder.parameters())"
        if kinds := [type(p).__name__ for p in (params, *tensors) if hasattr(type(p), "initial_theta")]:
            remedy = f"add .build(): {kinds[0]}(...).build().parameters()"
        raise InvalidArgument(argument, shown, "not a list of tensors", remedy)
    return tensors


def _changed(argument: str) -> StateChangedInPlace:
    return StateChangedInPlace(
        f"f(t, y) changes its argument {argument} in place, which the solver goes on using; compute with a copy: "
        f"{argument} = {argument}.clone()"
    )


def fitting_derivative(dy: object, y: State) -> State:
    """`dy`, converted to the dtype of the state `y` where both are floating point numbers.

    Raises `StateMismatch` where it is no tensor, or has another shape or device.
    """
    check_derivative(dy, y)
    assert isinstance(dy, Tensor)
    return dy if dy.dtype is y.dtype else dy.to(y.dtype)


def check_derivative(dy: object, y: State) -> None:
    """Raises `StateMismatch` unless `dy` has the shape and device of the state `y`, and a dtype of the same kind."""
    if not isinstance(dy, Tensor):
        raise StateMismatch(
            f"f(t, y) returned {type(dy).__name__}, not a tensor; return dy/dt of shape {tuple(y.shape)}"
        )
    convertible = dy.is_floating_point() and y.is_floating_point()
    for what, got, want in (
        ("shape", tuple(dy.shape), tuple(y.shape)),
        ("dtype", y.dtype if convertible else dy.dtype, y.dtype),
        ("device", dy.device, y.device),
    ):
        if got != want:
            raise StateMismatch(
                f"f(t, y) has {what} {got}, but the state y0 has {what} {want}; make both the same "
                "(a field's value is dy/dt, one number for each entry of y)"
            )


def parameters_of(f: VectorField) -> tuple[Tensor, ...]:
    """The parameters of `f` that want a gradient, where it is a torch module; else none."""
    return tuple(p for p in f.parameters() if p.requires_grad) if isinstance(f, nn.Module) else ()
