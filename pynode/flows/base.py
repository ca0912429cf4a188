"""Base distributions of flows, which z(T) follows: a standard normal unless another one is named."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any, TypeAlias

import torch
from torch import Tensor, nn
from torch.distributions import Distribution, Independent, Normal, Transform

from pynode.errors import InvalidArgument, PynodeError
from pynode.forward_arguments import is_open, positional, required, signature_of
from pynode.types import State

Base: TypeAlias = Distribution | nn.Module | None
"""A distribution, a module that returns one, or None for the standard normal."""

FAR = 1e3
"""A density must be defined this far from zero."""

DEPTH = 8
"""Distributions and transforms inside of one another that are searched for tensors."""


def log_normal(z: State) -> Tensor:
    """log N(z; 0, I) `(batch,)` for `z` `(batch, dim)`."""
    return -0.5 * (z.square().sum(-1) + z.shape[-1] * math.log(2 * math.pi))


def check_base(base: object, dim: int, context: int, like: Tensor) -> None:
    """Raises `InvalidArgument` unless `base` gives densities of `dim` real numbers in the dtype of `like`."""
    if base is None:
        return
    if not isinstance(base, (Distribution, nn.Module)):
        shown = f"class {base.__name__}" if isinstance(base, type) else repr(base)
        remedy = "pass a torch.distributions.Distribution, or a torch.nn.Module that returns one"
        raise InvalidArgument("base", shown, "not a distribution", remedy)
    if isinstance(base, Distribution):
        if name := _learnt_tensor(base):
            remedy = "pass a torch.nn.Module that holds its parameters and returns the distribution"
            raise InvalidArgument(
                "base", type(base).__name__, f"its {name} requires grad, but no module holds it", remedy
            )
        _check_distribution(base, dim, ())
        _check_dtype(base, like)
        return
    if context and _takes_context(base):  # only the user knows a context at which it is a distribution
        return
    with torch.no_grad():
        distribution_of(base, dim, None, 1, like)


def distribution_of(base: Base, dim: int, context: Tensor | None, n: int, like: Tensor) -> Distribution:
    """The distribution of `base` for `n` samples with `context` `(n, columns)`: its batch shape is () or (n,).

    Raises `InvalidArgument` where a module fails or returns something else, or the dtype is not that of `like`.
    """
    if base is None:
        zeros = like.new_zeros(dim)
        return Independent(Normal(zeros, torch.ones_like(zeros)), 1)
    if isinstance(base, Distribution):
        _check_dtype(base, like)
        return base
    takes_context = context is not None and _takes_context(base)
    try:
        distribution = base(context) if takes_context else base()
    except (ValueError, TypeError) as error:
        if isinstance(error, PynodeError):
            raise
        given = f"a context of shape {tuple(context.shape)}" if context is not None and takes_context else "nothing"
        problem, remedy = f"it fails when it is called with {given} ({error})", "return a distribution for every input"
        raise InvalidArgument("base", type(base).__name__, problem, remedy) from error
    if not isinstance(distribution, Distribution):
        remedy = "return a torch.distributions.Distribution"
        raise InvalidArgument("base", type(base).__name__, f"it returns {type(distribution).__name__}", remedy)
    _check_distribution(distribution, dim, (n,) if takes_context else ())
    _check_dtype(distribution, like)
    return distribution


def log_density(base: Base, z: State, context: Tensor | None) -> Tensor:
    """log-density `(batch,)` of `base` at `z` `(batch, dim)`, in dtype and device of `z`."""
    if base is None:
        return log_normal(z)
    distribution = distribution_of(base, z.shape[-1], context, len(z), z)
    kind = _kind_of(distribution)
    return distribution.log_prob(z.to(kind.device)).to(z)


def draw_samples(
    base: Base, n: int, dim: int, context: Tensor | None, seed: int, like: Tensor, *, differentiable: bool
) -> State:
    """`n` samples `(n, dim)` of `base` in dtype and device of `like`, the same ones for a `seed`.

    Differentiable ones are functions of the parameters of `base` and of `context`; raises `InvalidArgument` where one
    of these wants a gradient and the distribution has no `rsample`.
    """
    if base is None:
        noise = torch.randn(n, dim, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
        return noise.to(device=like.device, dtype=like.dtype)
    distribution = distribution_of(base, dim, context, n, like)
    shape = torch.Size(()) if distribution.batch_shape else torch.Size((n,))
    with _seeded(seed, _kind_of(distribution).device):
        if differentiable and distribution.has_rsample:
            samples = distribution.rsample(shape)
        elif differentiable and (source := _what_wants_a_gradient(base, distribution, context)):
            remedy = "use sample(), or a base with rsample, such as Normal or MultivariateNormal"
            problem = f"its samples can't be differentiated by its {source} (it has no rsample)"
            raise InvalidArgument("base", _name_of(distribution), problem, remedy)
        else:
            samples = distribution.sample(shape)
    return samples.to(device=like.device, dtype=like.dtype)


def _check_distribution(distribution: Distribution, dim: int, batch: tuple[int, ...]) -> None:
    event, shape = tuple(distribution.event_shape), tuple(distribution.batch_shape)
    name = _name_of(distribution)
    if shape == (dim,) and not event:
        remedy = "wrap it: torch.distributions.Independent(base, 1)"
        raise InvalidArgument("base", name, f"{dim} distributions of single numbers", remedy)
    if event != (dim,):
        remedy = "make its event shape that of one sample"
        raise InvalidArgument("base", name, f"its event shape is {event}, but samples are ({dim},)", remedy)
    if shape not in ((), batch):
        raise InvalidArgument("base", name, f"it is a batch {shape} of distributions", "pass a single distribution")
    if not _covers_everything(distribution, dim):
        remedy = "use a distribution on all real numbers, e.g. Normal, StudentT, Laplace or a mixture of them"
        raise InvalidArgument("base", name, "its support is not all of R^dim, where the flow's samples go", remedy)


def _check_dtype(distribution: Distribution, like: Tensor) -> None:
    """A density in a lower precision than the flow's would be wrong by its rounding, and nothing would tell."""
    for name, value in _tensors_of(distribution, DEPTH):
        if value.dtype != like.dtype:
            remedy = f"build it from tensors of dtype={like.dtype}, or pass a torch.nn.Module, which flow.to() converts"
            problem = f"its {name} is {value.dtype}, but the flow is {like.dtype}"
            raise InvalidArgument("base", _name_of(distribution), problem, remedy)


def _covers_everything(distribution: Distribution, dim: int) -> bool:
    try:
        support: Any = distribution.support
    except NotImplementedError:  # it does not say
        return True
    if support is None or support.is_discrete:
        return support is None
    kind = _kind_of(distribution)
    points = torch.tensor([-FAR, 0.0, FAR], dtype=kind.dtype, device=kind.device)[:, None].expand(3, dim)
    points = points.reshape(3, *(1,) * len(distribution.batch_shape), dim)
    return bool(support.check(points).all())


def _kind_of(distribution: Distribution) -> Tensor:
    """A tensor with dtype and device of the samples of `distribution`."""
    known = next(_tensors_of(distribution, DEPTH), None)
    if known is not None:
        return known[1].detach()
    with torch.no_grad(), torch.random.fork_rng(devices=[]):
        return distribution.sample()


def _tensors_of(owner: object, depth: int) -> Iterator[tuple[str, Tensor]]:
    """The floating point tensors of a distribution with their names, those of its parts and transforms among them."""
    members: Iterable[tuple[str, object]] = vars(owner).items()
    if isinstance(owner, nn.Module):  # a transform may be one
        members = (*owner.named_parameters(recurse=False), *owner.named_buffers(recurse=False), *members)
    for name, value in members:
        if name.startswith("_cached"):  # samples that a transform remembers
            continue
        listed = enumerate(value) if isinstance(value, (list, tuple)) else ((None, value),)
        for i, part in listed:
            shown = name.lstrip("_") + ("" if i is None else f"[{i}]")
            if isinstance(part, Tensor) and part.is_floating_point():
                yield shown, part
            elif isinstance(part, (Distribution, Transform)) and depth:
                for inner, tensor in _tensors_of(part, depth - 1):
                    yield f"{shown}.{inner}", tensor


def _learnt_tensor(distribution: Distribution) -> str | None:
    return next((name for name, value in _tensors_of(distribution, DEPTH) if value.requires_grad), None)


def _what_wants_a_gradient(base: Base, distribution: Distribution, context: Tensor | None) -> str | None:
    """What samples of `base` depend on that wants a gradient, None where nothing does."""
    if not isinstance(base, nn.Module):
        return None
    if any(p.requires_grad for p in base.parameters()):
        return "parameters"
    if context is not None and context.requires_grad and _takes_context(base):
        return "context"
    return _learnt_tensor(distribution)


def _name_of(distribution: Distribution) -> str:
    inner = getattr(distribution, "base_dist", None)
    return type(distribution).__name__ + (f"({type(inner).__name__})" if isinstance(inner, Distribution) else "")


def _takes_context(module: nn.Module) -> bool:
    """Whether `forward` takes the context: its first argument does, unless it has a default that is no context.

    Raises `InvalidArgument` for such a default, which may stand for anything.
    """
    arguments = signature_of(module)
    if arguments is None:
        return False
    places = positional(arguments)
    if not places or required(arguments):
        return bool(places) or is_open(arguments)
    if places[0].name == "context" or places[0].default is None:
        return True
    problem = f"the first argument of its forward, '{places[0].name}', has a default and may be the context or not"
    remedy = "write forward(self, context), or forward(self) for one that is not a function of the context"
    raise InvalidArgument("base", type(module).__name__, problem, remedy)


@contextmanager
def _seeded(seed: int, device: torch.device) -> Iterator[None]:
    """Torch's global generators at `seed`, and as they were afterwards."""
    devices = [device] if device.type == "cuda" else []
    with torch.random.fork_rng(devices=devices):
        torch.default_generator.manual_seed(seed)
        if devices:
            with torch.cuda.device(device):
                torch.cuda.manual_seed(seed)
        yield
