"""Field specifications: frozen descriptions from which module, parameters and flat theta follow.

A specification is the common language of all backends: the same specification and the same theta are the same function
everywhere, to rounding.  A new architecture is one new file with one subclass of `FieldSpec`: its sizes, its parameter
layout, its formula.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import MISSING, asdict, dataclass, fields
from typing import TYPE_CHECKING, Any, ClassVar, TypeGuard

import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize

from pynode.errors import InvalidArgument, NotBuilt, StateMismatch
from pynode.layers import Slot as Slot
from pynode.layers import bias as bias
from pynode.layers import time_weight as time_weight
from pynode.layers import weight as weight
from pynode.seeding import seed_or_new
from pynode.tangents import jacobian_vector_products, trace_of, unit_tangents
from pynode.types import State, Theta

LARGEST = 2**48
"""Entries of a tensor beyond which torch need not be asked whether there is room."""

DTYPES = (torch.float64, torch.float32, torch.bfloat16, torch.float16)
"""What the parameters of a field may be."""


@dataclass(frozen=True)
class FieldSpec(ABC):
    """An architecture with its sizes.  Subclasses are frozen dataclasses of plain values (numbers, strings, tuples)."""

    architecture: ClassVar[str]

    if not TYPE_CHECKING:  # a type checker finds these mistakes by itself

        def __call__(self, *_: object, **__: object) -> None:
            raise NotBuilt(type(self).__name__, "can't be called")

        def __getattr__(self, name: str) -> None:
            if hasattr(nn.Module, name) and not name.startswith("__"):
                raise NotBuilt(type(self).__name__, f"has no attribute '{name}'")
            raise AttributeError(f"'{type(self).__name__}' object has no attribute '{name}'")

    @property
    @abstractmethod
    def state_dim(self) -> int:
        """dim of the state y `(..., dim)`, in which the columns of a context are the last ones."""

    @property
    def context_dim(self) -> int:
        """Last columns of the state that are a context: the field sees them, and their derivative is zero."""
        return 0

    def with_context(self, columns: int) -> FieldSpec:
        """This architecture with a context of so many columns; raises `InvalidArgument` where it knows none."""
        remedy = "use MLP or ConcatSquash, or a module of your own, f(t, z, context), in pynode.Flow"
        raise InvalidArgument("context", columns, f"{type(self).__name__} has no context", remedy)

    @abstractmethod
    def slots(self) -> tuple[Slot, ...]:
        """The parameter tensors in the order in which theta holds them, each flattened row by row."""

    @abstractmethod
    def evaluate(self, p: Mapping[str, Tensor], t: Tensor, y: State) -> State:
        """f(t, y; p) for `y` `(..., dim)` and a scalar `t`; `p` holds the tensors of `slots()` by name."""

    def tangents(self, p: Mapping[str, Tensor], t: Tensor, y: State, v: Tensor) -> tuple[State, Tensor]:
        """f(t, y; p) and df/dy times `v` `(k, ..., dim)`, which may broadcast over the batch; both differentiable.

        By forward-mode AD unless an architecture knows better.
        """
        return jacobian_vector_products(lambda y: self.evaluate(p, t, y), y, v)

    def divergence(self, p: Mapping[str, Tensor], t: Tensor, y: State) -> tuple[State, Tensor]:
        """f(t, y; p) and the exact tr(df/dy) `(...)`: from dim tangents unless an architecture has a closed form."""
        value, products = self.tangents(p, t, y, unit_tangents(y)[: self.state_dim - self.context_dim])
        return value, trace_of(products, y)

    def prepare(self, tensors: Sequence[Tensor]) -> Sequence[Tensor]:
        """What kernels compute with, differentiable functions of `tensors`, which are those of `slots()`: mostly they
        themselves."""
        return tensors

    def after_preparation(self) -> FieldSpec:
        """What `prepare` leaves to be computed, for programs without torch: its theta are the results, flat."""
        return self

    @property
    def n_params(self) -> int:
        """Length of theta."""
        return sum(s.size for s in self.slots())

    def initial_theta(self, seed: int | None = None) -> Theta:
        """Glorot-uniform weights (Glorot & Bengio 2010, eq. 16) and zero biases, `(n_params,)` float64.

        A `seed` fixes them, whatever the global random state; without one they are new at every call and follow
        `torch.manual_seed`.
        """
        generator = torch.Generator().manual_seed(seed_or_new(seed))
        parts = []
        for slot in self.slots():
            if slot.fan is None:
                parts.append(torch.zeros(slot.size, dtype=torch.float64))
            else:
                bound = math.sqrt(6 / sum(slot.fan))
                unit = torch.rand(slot.size, dtype=torch.float64, generator=generator)
                parts.append((2 * unit - 1) * bound)
        return torch.cat(parts) if parts else torch.empty(0, dtype=torch.float64)

    def build(
        self,
        *,
        theta: Theta | None = None,
        seed: int | None = None,
        dtype: torch.dtype = torch.float64,
        device: torch.device | str = "cpu",
    ) -> Field:
        """The torch module of this specification, with `theta` `(n_params,)` or else `initial_theta(seed)`.

        Without a `seed` every call gives other parameters, which follow `torch.manual_seed` as torch's layers do.
        """
        if dtype not in DTYPES:
            raise InvalidArgument("dtype", dtype, "not a dtype that fields have", f"use one of {list(DTYPES)}")
        field = Field(self, dtype=dtype, device=device)
        field.set_theta(self.initial_theta(seed) if theta is None else theta)
        return field

    def to_json(self) -> dict[str, Any]:
        """Plain values; `field_from_json` gives the specification back."""
        values = asdict(self)
        if not values.get("context", 1):  # so that fields without one are described as they always were
            del values["context"]
        return {"architecture": self.architecture, **values}


def field_from_json(data: Mapping[str, Any]) -> FieldSpec:
    """The specification that `to_json` wrote; raises `UnknownName` or `InvalidArgument`."""
    from pynode.fields import FIELDS  # the registry imports the members, which import this module

    if not isinstance(data, Mapping):
        raise InvalidArgument("field", data, "no description of a field", 'write {"architecture": "mlp", ...}')
    spec = FIELDS.load(str(data.get("architecture")))
    known = {f.name for f in fields(spec)}
    values = {k: tuple(v) if isinstance(v, list) else v for k, v in data.items() if k != "architecture"}
    if unknown := sorted(set(values) - known):
        raise InvalidArgument("field", unknown, f"no option of {spec.architecture}", f"use {sorted(known)}")
    required = {f.name for f in fields(spec) if f.default is MISSING}
    if missing := sorted(required - set(values)):
        raise InvalidArgument("field", sorted(values), f"{spec.architecture} also needs {missing}", "add them")
    return spec(**values)


class Field(nn.Module):
    """A specification with its parameters: f(t, y), the vector field that every gradient method takes."""

    has_specification: ClassVar[bool] = True

    def __init__(self, spec: FieldSpec, *, dtype: torch.dtype = torch.float64, device: torch.device | str = "cpu"):
        super().__init__()
        self.spec = spec
        self._slots = tuple(s.name for s in spec.slots())
        self._names = self._attributes()
        self._shapes = tuple(s.shape for s in spec.slots())
        for slot, attribute in zip(spec.slots(), self._names, strict=True):
            try:
                if slot.size > LARGEST:
                    raise RuntimeError("out of memory")
                zeros = torch.zeros(slot.shape, dtype=dtype, device=device)
            except RuntimeError as error:
                if "memory" not in str(error):
                    raise
                problem = f"no room for {slot.name} {slot.shape}"
                raise InvalidArgument("field", f"{spec.n_params:,} parameters", problem, "make it smaller") from error
            self.register_parameter(attribute, nn.Parameter(zeros))

    def _attributes(self) -> tuple[str, ...]:
        """A free attribute for every slot, without dots: slots of a tape have names that users chose."""
        names: list[str] = []
        for slot in self._slots:
            name = slot.replace(".", "_")
            while name in names or hasattr(self, name):
                name += "_"
            names.append(name)
        return tuple(names)

    def forward(self, t: Tensor, y: State) -> State:
        """dy/dt `(..., dim)`; raises `StateMismatch` where the last axis or the dtype of `y` is not the field's."""
        self._check(y)
        return self.spec.evaluate(self._tensors(), t, y)

    def tangents(self, t: Tensor, y: State, v: Tensor) -> tuple[State, Tensor]:
        """dy/dt and df/dy times `v` `(k, ..., dim)`, which may broadcast over the batch."""
        self._check(y)
        return self.spec.tangents(self._tensors(), t, y, v)

    def divergence(self, t: Tensor, y: State) -> tuple[State, Tensor]:
        """dy/dt and the exact tr(df/dy) `(...)`."""
        self._check(y)
        return self.spec.divergence(self._tensors(), t, y)

    def _check(self, y: State) -> None:
        dtype = self._dtype() or y.dtype
        if y.shape[-1:] != (self.spec.state_dim,) or y.dtype != dtype:
            raise StateMismatch(
                f"the state has shape {tuple(y.shape)} and dtype {y.dtype}, but {self.spec} needs (..., "
                f"{self.spec.state_dim}) and {dtype}; reshape y0, or build the field with another dtype"
            )

    def _tensors(self) -> dict[str, Tensor]:
        held = self._parameters
        # attributes where torch computes them: parametrizations, pruning, replicas of nn.DataParallel
        each = [held[name] if name in held else getattr(self, name) for name in self._names]
        return dict(zip(self._slots, each, strict=True))  # type: ignore[arg-type]

    def _dtype(self) -> torch.dtype | None:
        """Of the parameters; None where there are none."""
        first = next(self.parameters(), None)  # reading a parametrized attribute may change its state
        if first is None and self._names:
            first = getattr(self, self._names[0])
        return None if first is None else first.dtype

    def why_unspecified(self) -> str | None:
        """Which tensor the specification does not describe, as a sentence; None where it describes them all."""
        held = self._parameters
        for name, shape in zip(self._names, self._shapes, strict=True):
            if name not in held:
                return f"its {name} is computed rather than a parameter, which only torch operators can follow"
            tensor = held[name]
            if tensor is None or tensor.shape != shape:
                shown = None if tensor is None else tuple(tensor.shape)
                return f"its {name} has shape {shown}, but its specification says {tuple(shape)}"
        return None

    def system(self) -> System:
        """The field as other backends can rebuild it; raises `InvalidArgument` where its parameters are not its own."""
        if reason := self.why_unspecified():
            raise InvalidArgument("field", type(self).__name__, reason, "use a method on torch operators")
        held = self._parameters
        theta: Any = [held[name] for name in self._names]
        return System(self.spec, tuple(self.spec.prepare(theta)), self.spec.state_dim)

    def theta(self) -> Theta:
        """All parameters as one float64 vector `(n_params,)` on the CPU, detached, in the order of the specification.

        Of a parametrized or pruned field the values that it computes with.
        """
        return self.joined().cpu()

    def joined(self) -> Tensor:
        """`theta` on the device of the parameters."""
        parts = [p.detach().reshape(-1).double() for p in self._tensors().values()]
        return torch.cat(parts) if parts else torch.empty(0, dtype=torch.float64)

    @torch.no_grad()
    def set_theta(self, theta: Theta) -> None:
        """Overwrites all parameters by `theta` `(n_params,)`; raises `InvalidArgument` for another length."""
        if not isinstance(theta, Tensor) or theta.shape != (self.spec.n_params,):
            shown = tuple(theta.shape) if isinstance(theta, Tensor) else type(theta).__name__
            raise InvalidArgument(
                "theta", shown, "wrong shape", f"this field needs ({self.spec.n_params},): {self.spec}"
            )
        if reason := self.why_unspecified():
            remedy = "remove the parametrization or the pruning first, e.g. by parametrize.remove_parametrizations"
            raise InvalidArgument("theta", tuple(theta.shape), f"can't be written: {reason}", remedy)
        chunks = theta.split([s.size for s in self.spec.slots()])
        for parameter, chunk in zip(self._tensors().values(), chunks, strict=True):
            parameter.copy_(chunk.reshape(parameter.shape))


@dataclass(frozen=True, eq=False)
class System:
    """A right-hand side that other backends can rebuild: a specification, its parameters, and what a flow adds.

    `theta` is what the specification prepares of its parameters, mostly they themselves; `columns` the entries of one
    sample's state; `flow` describes divergence and running costs, None for the field alone; `probes` `(batch, dim)` are
    Hutchinson's.
    """

    spec: FieldSpec
    theta: tuple[Tensor, ...]
    columns: int
    flow: Mapping[str, Any] | None = None
    probes: Tensor | None = None

    @property
    def n_params(self) -> int:
        """Entries of theta."""
        return sum(p.numel() for p in self.theta)

    def to_json(self) -> dict[str, Any]:
        """Plain values, without the numbers: what another program needs beside theta."""
        prepared = self.spec.after_preparation()
        return {"field": prepared.to_json(), "flow": None if self.flow is None else dict(self.flow)}


class Extended(nn.Module, ABC):
    """A field of states `(..., dim)` with further columns beside them, which follow from it and its derivatives.

    Subclasses hold the `field` and `dim`.
    """

    field: nn.Module
    dim: int

    @abstractmethod
    def why_not_extended(self) -> str | None:
        """Why other backends can't compute the further columns, as a sentence; None where they can."""

    @abstractmethod
    def extend(self, inner: System) -> System:
        """This field for other backends, where `inner` is that of the field in it."""

    @abstractmethod
    def around(self, field: nn.Module) -> Extended:
        """The same columns beside another field."""


_HOOKS: Any = nn.modules.module


def system_of(module: object) -> System:
    """What `module` is made of: a `Field`, or a flow of one.

    Raises `InvalidArgument` where it has no specification, or computes more than that says, since another program
    rebuilds the specification alone.
    """
    if reason := why_no_system(module):
        remedy = "build one from a specification, e.g. pynode.MLP(...).build()"
        raise InvalidArgument("field", type(module).__name__, reason, remedy)
    system: System = module.system()  # type: ignore[attr-defined]
    return system


def why_no_system(module: object) -> str | None:
    """Why a specification does not tell all that `module` computes, as a sentence; None where it does."""
    own = module.__dict__ if isinstance(module, nn.Module) else {}
    kind = type(module)
    if not getattr(kind, "has_specification", False):
        return "it has no specification"
    if isinstance(module, Field) and module.spec.context_dim:
        return "it has a context, so its operations are captured instead of rebuilt from its specification"
    if isinstance(module, nn.Module) and parametrize.is_parametrized(module):
        return "it is parametrized (torch.nn.utils.parametrize), which only torch operators can follow"
    if "has_specification" not in kind.__dict__:
        return "it is a subclass, which may compute something else than its specification"
    if "forward" in own:
        return "its forward has been replaced, which may compute something else than its specification"
    if _HOOKS._global_forward_hooks or _HOOKS._global_forward_pre_hooks:
        return "there are hooks on all modules, which only torch can run"
    if _has_hooks(own):
        return "it has hooks, which only torch can run"
    inner = getattr(module, "why_unspecified", None)
    return None if inner is None else inner()


def _has_hooks(own: Mapping[str, Any]) -> bool:
    """Whether a call of the module with attributes `own` does more than its forward: so do pruning and older norms."""
    return bool(
        own["_forward_hooks"] or own["_forward_pre_hooks"] or own["_backward_hooks"] or own["_backward_pre_hooks"]
    )


def has_formulas(module: nn.Module) -> TypeGuard[Field]:
    """Whether `tangents` and `divergence` of `module` are the derivatives of what a call of it computes.

    So for a `Field` as it was built, and for one whose parameters are parametrized; not where a subclass or an
    assignment replaces `forward`, nor where hooks of its own run around it.
    """
    if not isinstance(module, Field) or type(module).forward is not Field.forward:
        return False
    own = module.__dict__
    return "forward" not in own and not _has_hooks(own)
