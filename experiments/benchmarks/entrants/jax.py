"""JAX: the fixed-step scheme as a `lax.scan`, gradient and Adam under one jit."""

from __future__ import annotations

from typing import Any, ClassVar

import numpy as np

from experiments.benchmarks.jax_entrant import JaxEntrant
from experiments.benchmarks.workload import Workload


class Jax(JaxEntrant):
    """Written as one would by hand: stages unrolled in the body, one scan over all steps."""

    name: ClassVar[str] = "jax"

    @classmethod
    def unfit(cls, workload: Workload) -> str | None:
        if workload.method == "opt-disc":
            return "no adaptive solver of its own"
        return super().unfit(workload)

    def loss(self, params: Any, inputs: Any) -> Any:
        workload, jnp = self.workload, self.jax.numpy
        steps = workload.steps
        ends = np.asarray(workload.ts)
        sizes = np.repeat(np.diff(ends) / steps, steps)
        starts = np.repeat(ends[:-1], steps) + np.tile(np.arange(steps), len(ends) - 1) * sizes
        grid = (jnp.asarray(starts, self.dtype), jnp.asarray(sizes, self.dtype))
        tree = self.jax.tree_util.tree_map

        def step(state: Any, at: Any) -> Any:
            t, h = at
            slopes: list[Any] = []
            for row, c in zip(workload.tableau["a"], workload.tableau["c"], strict=True):
                there = _combined(tree, state, row, slopes, h)
                slopes.append(self._slope(params, t + c * h, there, inputs))
            after = _combined(tree, state, workload.tableau["b"], slopes, h)
            return after, after if workload.kind == "series" else None

        y0 = inputs["y0"]
        if workload.kind == "series":
            _, ys = self.jax.lax.scan(step, y0, grid)
            ys = jnp.concatenate((y0[None], ys[steps - 1 :: steps]))
            return ((ys - inputs["data"]) ** 2).sum(), {}
        (z, change), _ = self.jax.lax.scan(step, (y0, jnp.zeros(len(y0), self.dtype)), grid)
        return self.negative_log_likelihood(z, change), {}

    def _slope(self, params: Any, t: Any, state: Any, inputs: Any) -> Any:
        if self.workload.kind == "series":
            return self.field(params, t, state)
        return self.flow_field(params, t, state, inputs.get("probes"))


def _combined(tree: Any, state: Any, weights: Any, slopes: list[Any], h: Any) -> Any:
    """state + h sum_j weights_j slopes_j, over all parts of the state."""
    for weight, slope in zip(weights, slopes, strict=True):
        if weight:
            state = tree(lambda y, k, w=weight: y + (h * w) * k, state, slope)
    return state
