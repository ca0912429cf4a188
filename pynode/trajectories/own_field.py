"""A user's own field for a series, from a file or an architecture: made, tried once, and what is wrong with it said."""

from __future__ import annotations

import inspect
from typing import Any

import torch
from torch import Tensor, nn

from pynode.errors import InvalidArgument
from pynode.fields import FIELDS
from pynode.fields.base import FieldSpec
from pynode.forward_arguments import takes_state_alone
from pynode.trajectories.fields import Sizes
from pynode.trajectories.scaling import Scaling

FILE_UNITS = "file_units"
"""Attribute of a field's class: whether it takes and gives values and times in the units of the file."""


class OwnField(nn.Module):
    """A user's `field(t, y)`, or `field(y)`, as the inner field of a series.

    `y` `(..., state + inputs + covariates)` is scaled, unless the class sets `file_units = True`: then values, inputs,
    covariates and times are in the file's units (hidden states stay as they are), and so is the slope.  The slope has
    the state's columns, or all of y's, of which the others are not used.  `t` is the time since the trajectory began.
    """

    def __init__(self, field: nn.Module, sizes: Sizes, scaling: Scaling) -> None:
        super().__init__()
        self.field, self.state, self.unit = field, sizes.state, 1.0
        self.of_state_alone = takes_state_alone(field)
        n = sizes.state + sizes.known
        shift, scale = torch.zeros(n, dtype=torch.float64), torch.ones(n, dtype=torch.float64)
        if getattr(field, FILE_UNITS, False):
            if any(scaling.periods):
                problem = "fields in the file's units take no circular columns"
                remedy = "leave out file_units, or angles (circular=...)"
                raise InvalidArgument("field", type(field).__name__, problem, remedy)
            observed = sizes.observed
            shift[:observed], scale[:observed] = torch.as_tensor(scaling.shifts), torch.as_tensor(scaling.scales)
            inputs, read = slice(sizes.state, sizes.state + sizes.inputs), list(scaling.ongoing)
            shift[inputs] = torch.as_tensor(scaling.input_shifts[read])
            scale[inputs] = torch.as_tensor(scaling.input_scales[read])
            if sizes.covariates:
                shift[-sizes.covariates :] = torch.as_tensor(scaling.covariate_shifts)
                scale[-sizes.covariates :] = torch.as_tensor(scaling.covariate_scales)
            self.unit = scaling.time
        self.register_buffer("shift", shift)
        self.register_buffer("scale", scale)
        self.shift: Tensor
        self.scale: Tensor

    def forward(self, t: Tensor, x: Tensor) -> Tensor:
        """The slope `(..., state)` by the model's time at `x` `(..., state + known)`."""
        slope = self.users(t, x)[..., : self.state]
        return torch.as_tensor(slope * (self.unit / self.scale[: self.state]))

    def users(self, t: Tensor, x: Tensor) -> Any:
        """What the user's module returns for the model's time and `x`, which may be no slope at all."""
        y = x * self.scale + self.shift
        return self.field(y) if self.of_state_alone else self.field(t * self.unit, y)


def own_field(name: str, sizes: Sizes, scaling: Scaling, widths: tuple[int, ...], seed: int) -> OwnField:
    """The field called `name`, an architecture or `FILE.py:NAME`, for a model of these sizes, in float64.

    A class of modules is called with nothing, with the width of y, or with that and the number of states.  Raises
    `InvalidArgument`, or `OutsideError` with the line, for a file that fails, another kind of object, and a field that
    raises or returns another shape.
    """
    width = sizes.state + sizes.known
    member = _loaded(name)
    torch.manual_seed(seed)
    try:
        field = _made(member, width, sizes, widths, seed)
    except InvalidArgument:
        raise
    except Exception as error:
        raise InvalidArgument("field", name, f"making it raises {_shown(error)}", "correct the file") from error
    field = field.double()
    own = OwnField(field, sizes, scaling)
    at, points = torch.zeros(3, 1, dtype=torch.float64), torch.zeros(3, width, dtype=torch.float64)
    try:
        with torch.no_grad():
            slope = own.users(at, points)
    except Exception as error:
        problem = f"an evaluation for y of shape (3, {width}) raises {_shown(error)}"
        raise InvalidArgument(
            "field", name, problem, f"write forward(t, y), or forward(y), for y (..., {width})"
        ) from error
    shape = tuple(slope.shape) if isinstance(slope, Tensor) else type(slope).__name__
    if shape not in ((3, sizes.state), (3, width)):
        problem = f"for y of shape (3, {width}) it returns {shape}"
        raise InvalidArgument("field", name, problem, f"return the slope of shape (..., {sizes.state})")
    return own


def _loaded(name: str) -> Any:
    from pynode.outside_members import Origin, load_file, split_reference

    reference = split_reference(name, "field")
    if reference is None:
        return FIELDS.load(name)
    file, member = reference
    return load_file(Origin(member, member, file=str(file)), "field").member


def _made(member: Any, width: int, sizes: Sizes, widths: tuple[int, ...], seed: int) -> nn.Module:
    if isinstance(member, nn.Module):
        return member
    if isinstance(member, FieldSpec):
        if member.state_dim != width:
            problem = f"it has {member.state_dim} columns, the state with inputs and covariates {width}"
            raise InvalidArgument("field", member, problem, f"make it for {width} columns")
        return member.build(seed=seed, dtype=torch.float64)
    if isinstance(member, type) and issubclass(member, FieldSpec):
        kind: Any = member
        parameters = inspect.signature(kind).parameters.values()
        needed = sum(p.default is p.empty for p in parameters)
        own = [(width, *widths, width)] if "widths" in inspect.signature(kind).parameters else [width, *widths][:needed]
        specification: FieldSpec = kind(*own)
        return specification.build(seed=seed, dtype=torch.float64)
    if isinstance(member, type) and issubclass(member, nn.Module):
        required = [
            p
            for p in inspect.signature(member).parameters.values()
            if p.default is p.empty and p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD)
        ]
        return member(*(width, sizes.state)[: len(required)])
    what = "a class" if isinstance(member, type) else f"an object of {type(member).__name__}"
    problem = f"{what}, but neither a torch.nn.Module nor the specification of a field"
    raise InvalidArgument("field", getattr(member, "__name__", member), problem, "name a class of torch.nn.Module")


def _shown(error: Exception) -> str:
    first = str(error).strip().partition("\n")[0]
    return f"{type(error).__name__}: {first[:160]}"
