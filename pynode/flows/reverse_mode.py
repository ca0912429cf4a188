"""Products of vectors with the Jacobian of any module, by reverse-mode AD: v^T df/dz, and df/dz v.

One evaluation of the module and one backward pass through it cost less than pushing a tangent through it does, and
follow modules that call `torch.autograd.grad` themselves, such as the gradient of a potential.
"""

from __future__ import annotations

import weakref
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, nullcontext

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from torch.autograd.graph import Node
from torch.nn.attention import SDPBackend, sdpa_kernel

from pynode.errors import InvalidArgument
from pynode.evaluation import check_derivative
from pynode.transforms import is_transformed
from pynode.types import State

_ATTENTIVE: weakref.WeakSet[nn.Module] = weakref.WeakSet()
"""Modules whose attention runs by torch's plain formula: its fused kernels can't be differentiated twice."""


_ONCE = once_differentiable(lambda *_: None).__code__
"""Code of the function that `@once_differentiable` puts in place of a backward."""


def _attention(field: nn.Module) -> AbstractContextManager[None]:
    return sdpa_kernel(SDPBackend.MATH) if field in _ATTENTIVE else nullcontext()


class Linearised:
    """f(t, z) of a module as `value`, and products of its Jacobian with vectors.

    Results carry a graph where gradients are enabled and something that the module reads wants one; else none, and the
    graph of the evaluation lives only as long as this object.
    """

    def __init__(self, field: nn.Module, t: Tensor, z: State) -> None:
        wanted = torch.is_grad_enabled() and not torch.is_inference_mode_enabled()
        self._field, self._t = field, t
        self._pull: Callable[[Tensor], tuple[Tensor, ...]] | None = None
        if is_transformed():  # torch.autograd.grad can't be used inside of torch.func's transforms, but its vjp can
            self._graph, self._z = wanted, z
            self._result, self._pull = torch.func.vjp(lambda y: field(t, y), z)  # type: ignore[misc]
            return
        with torch.inference_mode(False), torch.enable_grad(), _attention(field):
            # tensors made in inference mode take part in no graph
            t, z = (x.clone() if x.is_inference() else x for x in (t, z))
            leaf = None
            if not (wanted and z.requires_grad):
                leaf = z.detach().requires_grad_()
                z = leaf.clone()  # a leaf could not be changed in place: torch's error would come before the one below
            self._z, version = z, z._version
            value = field(t, z)
            if z._version != version:
                remedy = "compute without changing it, e.g. z = z + 1 instead of z += 1"
                raise InvalidArgument("field", type(field).__name__, "changes the state z in place", remedy)
            check_derivative(value, z)
            self._result = value.to(z.dtype)
        self._graph = wanted and (
            leaf is None
            or t.requires_grad
            or any(p.requires_grad for p in field.parameters())
            or _reads_others(value, leaf)
        )

    @property
    def value(self) -> State:
        """f(t, z) `(..., dim)`."""
        return self._result if self._graph else self._result.detach()

    def row(self, v: Tensor, *, last: bool = False) -> Tensor:
        """v^T df/dz `(..., dim)` for `v` `(..., dim)`; `last` frees the graph where nothing else needs it."""
        if self._pull is not None:
            return self._pull(v)[0]
        with torch.inference_mode(False), torch.enable_grad():
            v = v.clone() if v.is_inference() else v
            row = self._grad(self._result, self._z, v, retain=self._graph or not last, create=self._graph)
        if row is None:
            self._check_constant()
            return torch.zeros_like(self._z, requires_grad=False)
        return row

    def column(self, v: Tensor) -> Tensor:
        """df/dz v `(..., dim)` for `v` `(..., dim)`: the transpose of u -> u^T df/dz, which is linear."""
        if self._pull is not None:
            pull = self._pull
            _, transposed = torch.func.vjp(lambda u: pull(u)[0], torch.zeros_like(v))  # type: ignore[misc]
            column: Tensor = transposed(v)[0]
            return column
        with torch.inference_mode(False), torch.enable_grad():
            v = v.clone() if v.is_inference() else v
            u = torch.zeros_like(v, requires_grad=True)
            row = self._grad(self._result, self._z, u, retain=True, create=True)
            if row is None:
                self._check_constant()
                return torch.zeros_like(v)
            product = self._grad(row, u, v, retain=True, create=self._graph)
        assert product is not None  # a row depends on the vector that it is the product with
        return product

    @staticmethod
    def _grad(output: Tensor, source: Tensor, v: Tensor, *, retain: bool, create: bool) -> Tensor | None:
        if not output.requires_grad:
            return None
        return torch.autograd.grad(output, source, v, retain_graph=retain, create_graph=create, allow_unused=True)[0]

    def differentiate_twice(self, v: Tensor) -> None:
        """Raises RuntimeError where a row can't be differentiated, as training with a divergence needs."""
        row = self.row(v)
        if self._pull is not None or not self._graph:
            return
        for node in _graph_of(self._result):
            backward = getattr(getattr(node, "_forward_cls", None), "backward", None)
            if getattr(backward, "__code__", None) is _ONCE:
                # torch raises only where it passes such a function, which it may leave out
                raise RuntimeError(f"{node.name()} is marked with @once_differentiable")
        if row.requires_grad:
            sources = [self._z, *(p for p in self._field.parameters() if p.requires_grad)]
            torch.autograd.grad(row.sum(), sources, allow_unused=True)

    def _check_constant(self) -> None:
        """Raises `InvalidArgument` where the value depends on z although autograd sees no way from one to the other."""
        with torch.inference_mode(False), torch.enable_grad():
            moved = self._field(self._t, (self._z.detach() + 1.0).requires_grad_()).detach()
        if not torch.equal(moved, self._result.detach()):
            raise InvalidArgument(
                "field",
                type(self._field).__name__,
                "its value depends on the state z, but autograd sees no connection, so it has no divergence",
                "compute from z itself: without z.detach(), torch.no_grad() or NumPy",
            )


def can_train(field: nn.Module, t: Tensor, z: State) -> str | None:
    """Why the divergence of `field` can't be differentiated, in torch's words; None where it can.

    Attention that can't is computed by another formula from then on.
    """
    for _ in range(2):
        try:
            Linearised(field, t, z).differentiate_twice(torch.ones_like(z))
        except RuntimeError as error:
            if "_scaled_dot_product_" not in str(error) or field in _ATTENTIVE:
                return str(error).partition("\n")[0]
            _ATTENTIVE.add(field)
        else:
            break
    return None


def _reads_others(value: Tensor, leaf: Tensor) -> bool:
    """Whether `value` depends on a leaf other than `leaf`."""
    leaves = (getattr(node, "variable", None) for node in _graph_of(value))
    return any(variable is not None and variable is not leaf for variable in leaves)


def _graph_of(value: Tensor) -> Iterator[Node]:
    """The nodes of autograd's graph that `value` comes from."""
    todo, seen = [value.grad_fn], set()
    while todo:
        node = todo.pop()
        if node is None or node in seen:
            continue
        seen.add(node)
        yield node
        todo += [n for n, _ in node.next_functions]
