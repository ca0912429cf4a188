"""The one node of autograd's graph for every gradient that torch does not know by itself."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from pynode.precision import kept_precision, products_as_kept
from pynode.second_derivatives import final
from pynode.solve import Kept, Pullback, Run
from pynode.transforms import is_batched, one_by_one
from pynode.types import States


def attach(run: Run) -> States:
    """The states of `run`, as a function of what its pullback gives gradients to."""
    if run.pullback is None:
        return run.states
    states: States = _Node.apply(run.pullback, (run.states,), *run.pullback.inputs)
    return states


def attach_all(pullback: Pullback, outputs: Sequence[Tensor]) -> tuple[Tensor, ...]:
    """The same for several `outputs`, whose cotangents `pullback.pull` takes as a tuple."""
    results = _Node.apply(pullback, tuple(outputs), *pullback.inputs)
    return results if isinstance(results, tuple) else (results,)


class _Node(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, pullback: Pullback, outputs: tuple[Tensor, ...], *inputs: Tensor) -> Any:  # noqa: ARG004
        tensors, held = pullback.release()
        ctx.pullback, ctx.held, ctx.precision = pullback, None, kept_precision()
        if held is None:
            ctx.save_for_backward(*tensors)
        else:
            # it hangs on one of the tensors, so that torch lets it go together with them; hooks (as of
            # `save_on_cpu`) would give back another tensor
            token = torch.empty(0)
            token.held = held  # type: ignore[attr-defined]
            ctx.held = held if torch._C._autograd._top_saved_tensors_default_hooks(True) else None
            ctx.save_for_backward(*tensors, token)
        ctx.has_token = held is not None
        ctx.lock = threading.RLock()
        return outputs if len(outputs) > 1 else outputs[0]

    @staticmethod
    def backward(ctx: Any, *cotangents: Tensor) -> tuple[Tensor | None, ...]:
        kept = Kept(ctx.saved_tensors)  # torch refuses where the graph has been freed
        if ctx.has_token:
            *tensors, token = kept.tensors
            kept = Kept(tensors, token.held if ctx.held is None else ctx.held)
        # several threads may differentiate one graph; a pullback has one memory to work in
        with ctx.lock, products_as_kept(ctx.precision):  # on a GPU this is a thread of autograd's own
            return None, None, *_pulled(ctx, kept, cotangents)


def _pulled(ctx: Any, kept: Kept, cotangents: tuple[Tensor, ...]) -> Sequence[Tensor | None]:
    """The gradients by the inputs of the node's pullback."""
    pullback: Pullback = ctx.pullback
    wanted = ctx.needs_input_grad[2:]
    again = torch.is_grad_enabled()
    if len(cotangents) == 1 and not again and not is_batched(cotangents[0]):
        gradients = pullback.pull(kept, cotangents[0], wanted)
    else:
        pull_back = pullback.pull_with_graph if again and pullback.repeats else pullback.pull

        def pull(*each: Any) -> tuple[Tensor | None, ...]:
            states: Any = each[0] if len(each) == 1 else each
            return pull_back(kept, states, wanted)

        gradients = one_by_one(pull, *cotangents) if any(map(is_batched, cotangents)) else pull(*cotangents)
    if again and not pullback.repeats:
        gradients = final(gradients, (*cotangents, *pullback.originals), pullback.name)
    return gradients
