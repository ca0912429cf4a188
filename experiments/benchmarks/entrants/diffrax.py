"""Diffrax: its solvers, step controllers and adjoints, under one jit."""

from __future__ import annotations

from typing import Any, ClassVar

import numpy as np

from experiments.benchmarks.jax_entrant import JaxEntrant
from experiments.benchmarks.workload import Workload

STAGES = 6
"""Evaluations of one step of Tsit5, whose last stage is the next step's first."""


class Diffrax(JaxEntrant):
    """Disc-Opt: the workload's tableau as a solver of Diffrax's, `RecursiveCheckpointAdjoint` (its default).

    Opt-Disc: Tsit5 with `BacksolveAdjoint`, the continuous adjoint, and with `RecursiveCheckpointAdjoint`, which
    differentiates the steps that were taken.
    """

    name: ClassVar[str] = "diffrax"
    packages: ClassVar[tuple[str, ...]] = ("jax", "optax", "diffrax")
    distributions: ClassVar[tuple[str, ...]] = ("jax", "jaxlib", "optax", "diffrax")

    @classmethod
    def variants(cls, workload: Workload) -> tuple[str, ...]:
        return ("tsit5 backsolve", "tsit5 checkpoint") if workload.method == "opt-disc" else ("",)

    def loss(self, params: Any, inputs: Any) -> Any:
        import diffrax

        workload, jnp = self.workload, self.jax.numpy
        ts = jnp.asarray(workload.ts, self.dtype)
        adaptive = workload.method == "opt-disc"
        if adaptive:
            solver: Any = diffrax.Tsit5()
            control: Any = diffrax.PIDController(rtol=workload.rtol, atol=workload.atol)
            adjoint: Any = diffrax.RecursiveCheckpointAdjoint()
            if "backsolve" in self.variant:
                adjoint = diffrax.BacksolveAdjoint(solver=solver, stepsize_controller=control)
            dt0, most = None, 4096
        else:
            solver, adjoint = _solver(workload), diffrax.RecursiveCheckpointAdjoint()
            grid = np.concatenate(
                [np.linspace(a, b, workload.steps + 1)[:-1] for a, b in zip(workload.ts, workload.ts[1:], strict=False)]
            )
            control = diffrax.StepTo(ts=jnp.asarray([*grid, workload.ts[-1]], self.dtype))
            dt0, most = None, workload.n_steps
        start = inputs["y0"]
        save = diffrax.SaveAt(ts=ts)
        if workload.kind == "flow":
            start, save = (start, jnp.zeros(len(start), self.dtype)), diffrax.SaveAt(t1=True)
        solution = diffrax.diffeqsolve(
            diffrax.ODETerm(self._slope),
            solver,
            t0=ts[0],
            t1=ts[-1],
            dt0=dt0,
            y0=start,
            args=(params, inputs.get("probes")),
            saveat=save,
            stepsize_controller=control,
            adjoint=adjoint,
            max_steps=most,
        )
        counts = {"nfe_forward": STAGES * solution.stats["num_steps"]} if adaptive else {}
        if workload.kind == "flow":
            z, change = solution.ys
            return self.negative_log_likelihood(z[-1], change[-1]), counts
        return ((solution.ys - inputs["data"]) ** 2).sum(), counts

    def _slope(self, t: Any, state: Any, args: Any) -> Any:
        params, probes = args
        if self.workload.kind == "series":
            return self.field(params, t, state)
        return self.flow_field(params, t, state, probes)


def _solver(workload: Workload) -> Any:
    """A solver of Diffrax's with the workload's tableau."""
    import diffrax

    a, b, c = (workload.tableau[k] for k in "abc")
    tableau_ = diffrax.ButcherTableau(
        c=np.array(c[1:]), a_lower=tuple(np.array(row) for row in a[1:]), b_sol=np.array(b), b_error=np.zeros(len(b))
    )

    class Scheme(diffrax.AbstractERK):
        tableau: ClassVar[diffrax.ButcherTableau] = tableau_
        interpolation_cls: ClassVar[Any] = staticmethod(_linear)

        def order(self, terms: Any) -> int:  # noqa: ARG002
            return 4

    return Scheme()


def _linear(*, t0: Any, t1: Any, y0: Any, y1: Any, k: Any) -> Any:  # noqa: ARG001
    """All outputs are ends of steps, where every interpolation is exact."""
    import diffrax

    return diffrax.LocalLinearInterpolation(t0=t0, t1=t1, y0=y0, y1=y1)
