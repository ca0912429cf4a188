"""Argument checks of `Flow`, and of its modules: each sample needs a density that does not depend on the others."""

from __future__ import annotations

import weakref
from collections.abc import Iterable, Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from pynode.errors import InvalidArgument
from pynode.fields.base import Field, FieldSpec, has_formulas
from pynode.finite import check_finite
from pynode.flows.divergence import KINDS, Divergence
from pynode.flows.probes import Draw
from pynode.flows.reverse_mode import Linearised, can_train
from pynode.methods.base import GradientMethod
from pynode.transforms import is_transformed
from pynode.types import State

COUPLED = 1e-6
"""Derivative of one sample's value by another sample, relative to that by itself, which is more than rounding."""

_TRIED: weakref.WeakKeyDictionary[nn.Module, set[tuple[bool, bool]]] = weakref.WeakKeyDictionary()
"""Modules that have passed `check_block`, with `training` and whether gradients were enabled at that time."""


@contextmanager
def samples_named(points: State) -> Iterator[None]:
    """Within the block, a solve that refuses its initial state because of `points` names them `x`.

    They are not read beforehand, which would end the recording of a solve.
    """
    try:
        yield
    except InvalidArgument as error:
        if error.argument == "y0":
            check_finite("x", points, "check the data")
        raise


def checked_fields(fields: object, dim: int) -> list[nn.Module]:
    """`fields` as a list; raises `InvalidArgument` unless it holds modules f(t, z) for states of `dim` entries."""
    if isinstance(fields, FieldSpec):
        kind = type(fields).__name__
        remedy = f"write [{kind}(...).build()], or pynode.Flow.build({kind}(...))"
        raise InvalidArgument("fields", fields, "a specification, which has no parameters yet", remedy)
    if isinstance(fields, nn.Module) and not isinstance(fields, nn.ModuleList):
        raise InvalidArgument("fields", type(fields).__name__, "not a list of modules", "write [field]")
    if not isinstance(fields, Iterable) or isinstance(fields, (str, Tensor)):
        raise InvalidArgument("fields", repr(fields), "not a list of modules", "pass one field or more, e.g. [field]")
    blocks = list(fields)
    if not blocks:
        raise InvalidArgument("fields", "()", "a flow without blocks", "pass one field or more")
    for k, block in enumerate(blocks):
        name = f"fields[{k}]"
        if isinstance(block, FieldSpec):
            raise InvalidArgument(name, block, "a specification, which has no parameters yet", "add .build()")
        if not isinstance(block, nn.Module):
            remedy = "pass objects of torch.nn.Module with forward(t, z)"
            raise InvalidArgument(name, _shown(block), "not a module", remedy)
        own = block.spec.state_dim - block.spec.context_dim if isinstance(block, Field) else dim
        if own != dim:
            raise InvalidArgument("dim", dim, f"{name} is for dim = {own}", "make both the same")
    return blocks


def check_spec(spec: object) -> None:
    """Raises `InvalidArgument` unless `spec` is a specification of a field."""
    if not isinstance(spec, FieldSpec):
        remedy = "pass e.g. pynode.ConcatSquash((2, 32, 2)), or use pynode.Flow([module], dim) for modules"
        raise InvalidArgument("spec", _shown(spec), "not a specification of a field", remedy)


def check_dim(dim: object) -> None:
    """Raises `InvalidArgument` unless `dim` is a positive integer."""
    if isinstance(dim, bool) or not isinstance(dim, int) or dim < 1:
        raise InvalidArgument("dim", repr(dim), "not a positive integer", "give the number of columns of the data")


def check_divergence(divergence: object) -> None:
    """Raises `InvalidArgument` unless `divergence` is a `Divergence` object."""
    if not isinstance(divergence, Divergence):
        remedy = "pass pynode.Exact() or pynode.Hutchinson()"
        if isinstance(divergence, str) and divergence in KINDS:
            remedy = f"pass pynode.{KINDS[divergence]!r}"
        raise InvalidArgument("divergence", _shown(divergence), "not a Divergence object", remedy)


def check_method(method: object) -> None:
    """Raises `InvalidArgument` unless `method` is a `GradientMethod` object."""
    if not isinstance(method, GradientMethod):
        remedy = "pass one, e.g. pynode.DiscOpt(steps=8) or pynode.OptDisc()"
        raise InvalidArgument("method", _shown(method), "not a gradient method", remedy)


def check_draw(draw: object) -> None:
    """Raises `InvalidArgument` unless `draw` is a `Draw`."""
    if not isinstance(draw, Draw):
        raise InvalidArgument("draw", _shown(draw), "not a Draw", "pass e.g. pynode.Draw(seed=0, iteration=3)")


def check_modules(block: nn.Module, k: int) -> None:
    """Raises `InvalidArgument` where a module inside of `block`, number `k`, mixes samples or is random."""
    if has_formulas(block):
        return
    for name, module in block.named_modules():
        where, kind = f"fields[{k}]{'.' if name else ''}{name}", type(module).__name__
        if isinstance(module, nn.modules.batchnorm._BatchNorm) and (module.training or module.running_mean is None):
            raise InvalidArgument(
                where,
                kind,
                "it normalises over the batch, so that no sample has a density of its own",
                "call .eval() on it, or use a norm of single samples such as nn.LayerNorm",
            )
        if isinstance(module, nn.modules.dropout._DropoutNd) and module.training and module.p > 0:
            raise InvalidArgument(where, f"{kind}(p={module.p})", RANDOM, CALM)


RANDOM = "it is random, and the log-likelihood of a field that changes from one evaluation to the next is noise"
CALM = "call .eval() on it, or draw the random numbers once per solve and keep them in the module"


def check_block(block: nn.Module, k: int, t: Tensor, z: State) -> None:
    """Raises `InvalidArgument` where `block`, number `k`, mixes the samples of `z` `(batch, dim)`, is random, or has a
    divergence that can't be differentiated.

    Modules without formulas are evaluated for this at their first use in each mode (training or not, with gradients or
    without).
    """
    check_modules(block, k)
    tried, mode = _TRIED.setdefault(block, set()), (block.training, torch.is_grad_enabled())
    if has_formulas(block) or len(z) < 2 or mode in tried or is_transformed():
        return
    where, kind = f"fields[{k}]", type(block).__name__
    t = t.to(z)  # horizons are float64 on the CPU, and solves evaluate fields at times like the state
    if torch.is_grad_enabled() and (reason := can_train(block, t.detach(), z.detach())):
        remedy = "use operators with a second derivative"
        raise InvalidArgument(where, kind, f"its divergence can't be differentiated ({reason})", remedy)
    point = Linearised(block, t.detach(), z.detach())
    before = _random_state(z)
    with torch.no_grad():
        Linearised(block, t, z)  # a module may draw random numbers once and keep them, but not twice
    if not all(torch.equal(a, b) for a, b in zip(before, _random_state(z), strict=True)):
        raise InvalidArgument(where, kind, RANDOM, CALM)
    # first and last sample: a cumulative sum over the batch shows in one of them alone
    weights = torch.cos(torch.arange(z.shape[1], device=z.device)).to(z.dtype)
    for i, others in ((0, slice(1, None)), (-1, slice(None, -1))):
        one = torch.zeros_like(z)
        one[i] = weights
        by_all = point.row(one).detach().abs()
        if float(by_all[others].max()) > COUPLED * float(by_all.max()):
            raise InvalidArgument(
                where,
                kind,
                "its value at one sample depends on other samples of the batch, so that none has a density of its own",
                "treat samples independently; points that interact belong into one sample",
            )
    tried.add(mode)


def _random_state(z: Tensor) -> list[Tensor]:
    """The states of the generators that a module may draw from without being given one."""
    states = [torch.get_rng_state()]
    if z.is_cuda:
        states.append(torch.cuda.get_rng_state(z.device))
    return states


def _shown(value: object) -> str:
    if isinstance(value, (Tensor, nn.Module)):
        return type(value).__name__
    return f"class {value.__name__}" if isinstance(value, type) else repr(value)
