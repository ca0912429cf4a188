"""L-BFGS an iteration at a time: what it knows between two iterations is a value that can be saved."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

HISTORY = 40
"""Pairs of a step and the change of the gradient along it that are kept."""
SMALLEST_GRADIENT, SMALLEST_CHANGE = 1e-7, 1e-8
"""The largest entry of a gradient, and of a step or the change of the loss, below which nothing is left to gain."""


@dataclass(frozen=True)
class Curvature:
    """What L-BFGS knows after an iteration; `state` has the names of `torch.optim.LBFGS`."""

    ROWS: ClassVar[tuple[str, ...]] = ("old_dirs", "old_stps", "ro")
    NUMBERS: ClassVar[tuple[str, ...]] = ("t", "H_diag", "prev_loss", "n_iter", "func_evals")
    VECTORS: ClassVar[tuple[str, ...]] = ("d", "prev_flat_grad")
    NAMES: ClassVar[tuple[str, ...]] = (*ROWS, *NUMBERS, *VECTORS)
    """What torch keeps: lists of tensors, numbers, and tensors."""

    state: Mapping[str, Any]

    @property
    def step(self) -> float:
        """The largest change of a weight in the last iteration."""
        return float((self.state["d"] * self.state["t"]).abs().max())

    @property
    def earlier_loss(self) -> float:
        """The loss before the last iteration."""
        return float(self.state["prev_loss"])

    def tensors(self) -> dict[str, Tensor]:
        """Tensors for a checkpoint; `from_tensors` gives this back, bit by bit."""
        like = self.state["d"]
        rows = {name: list(self.state[name]) for name in self.ROWS}
        return {
            **{name: torch.stack(each) if each else like.new_zeros(0) for name, each in rows.items()},
            **{name: self.state[name] for name in self.VECTORS},
            **{name: torch.tensor(float(self.state[name]), dtype=torch.float64) for name in self.NUMBERS},
        }

    @classmethod
    def from_tensors(cls, tensors: Mapping[str, Tensor], device: torch.device) -> Curvature:
        """What `tensors` gave, on `device`; each in memory of its own, aligned as when it was computed."""
        state: dict[str, Any] = {name: [row.to(device).clone() for row in tensors[name]] for name in cls.ROWS}
        state |= {name: tensors[name].to(device).clone() for name in cls.VECTORS}
        state |= {name: float(tensors[name]) for name in cls.NUMBERS}
        return cls({**state, "n_iter": int(state["n_iter"]), "func_evals": int(state["func_evals"])})


def iterate(
    params: list[nn.Parameter], known: Curvature | None, rate: float, most: int, evaluate: Callable[[], float]
) -> Curvature | None:
    """One iteration with a strong Wolfe line search that begins at `rate`, by at most `most` evaluations.

    Changes `params`.  `evaluate` gives the loss at `params` and sets their gradients; what it raises leaves `known` as
    it was, and `params` wherever the search had come to.  Returns what is known afterwards; None where the first
    gradient is zero.
    """
    optimiser = torch.optim.LBFGS(
        params,
        lr=rate,
        max_iter=1,
        max_eval=most,
        history_size=HISTORY,
        tolerance_grad=SMALLEST_GRADIENT,
        tolerance_change=SMALLEST_CHANGE,
        line_search_fn="strong_wolfe",
    )
    state = optimiser.state[params[0]]
    if known is not None:  # torch changes lists and the gradient in their place
        state.update(known.state)
        state.update({name: list(known.state[name]) for name in Curvature.ROWS})
        state["prev_flat_grad"] = known.state["prev_flat_grad"].clone()
    optimiser.step(evaluate)
    if "d" not in state:
        return known
    return Curvature({name: state[name] for name in Curvature.NAMES})
