"""Entrants on JAX: fields as pure functions, optax, a step of training under one jit; by hand and by Diffrax."""

from __future__ import annotations

import math
from abc import abstractmethod
from importlib.util import find_spec
from typing import Any, ClassVar

import numpy as np

from experiments.benchmarks.entrants.base import Entrant, Gradient, by_precision, precision_of
from experiments.benchmarks.modules import DIFFRAX, few
from experiments.benchmarks.modules.in_jax import fields
from experiments.benchmarks.workload import Array, Workload, layers, slots

CUDA_PLUGINS = ("jax_cuda12_plugin", "jax_cuda13_plugin")

STAGES = 6
"""Evaluations of one step of Tsit5, whose last stage is the next step's first."""


class JaxEntrant(Entrant):
    """Subclasses give the loss as a function of theta's tensors; value, gradient and Adam are one compiled call."""

    packages: ClassVar[tuple[str, ...]] = ("jax", "optax")
    distributions: ClassVar[tuple[str, ...]] = ("jax", "jaxlib", "optax")
    slow_to_compile: ClassVar[bool] = True

    @classmethod
    def unfit(cls, workload: Workload) -> str | None:
        # JAX itself is not asked: it would take the GPU's memory in the parent's process
        if workload.device == "cpu" or any(find_spec(name) for name in CUDA_PLUGINS):
            return None
        return "JAX without its CUDA plugin; pip install 'jax[cuda12]'"

    def __init__(self, workload: Workload, variant: str, dtype: str) -> None:
        import jax
        import optax

        jax.config.update("jax_enable_x64", True)
        self.jax, self.workload, self.variant = jax, workload, variant
        self.dtype = jax.numpy.dtype(dtype)
        self.inputs = {name: self._array(values) for name, values in workload.arrays.items() if name != "theta"}
        self.own = fields()[workload.module] if workload.kind == "module" else None
        # without a word on it JAX multiplies float32 in TF32 on GPUs
        self.precision = {"full": "highest", "tf32": "tensorfloat32", "bf16": "bfloat16"}[precision_of(variant)]
        rate, decay = workload.learning_rate, workload.weight_decay
        self.optimiser = optax.chain(optax.add_decayed_weights(decay), optax.adam(rate)) if decay else optax.adam(rate)
        self.value_and_grad = jax.jit(jax.value_and_grad(self.loss, has_aux=True))
        self.iteration = jax.jit(self._iterate)
        self.reset()

    @abstractmethod
    def loss(self, params: Any, inputs: Any) -> Any:
        """The loss, and a dictionary of counts."""

    def _array(self, values: Array) -> Any:
        return self.jax.numpy.asarray(values, dtype=self.dtype)

    def _iterate(self, params: Any, state: Any, inputs: Any) -> Any:
        import optax

        (loss, _), grads = self.jax.value_and_grad(self.loss, has_aux=True)(params, inputs)
        updates, state = self.optimiser.update(grads, state, params)
        return optax.apply_updates(params, updates), state, loss

    def reset(self) -> None:
        theta = self.workload.arrays["theta"]
        if self.workload.kind == "module":
            tensors = [list(slots(self.workload, theta).values()), [self.workload.arrays["y0"]]]
        else:
            tensors = layers(self.workload, theta)
        self.params = [[self._array(t) for t in layer] for layer in tensors]
        self.state = self.optimiser.init(self.params)

    def gradient(self) -> Gradient:
        with self.jax.default_matmul_precision(self.precision):
            (loss, counts), grads = self.value_and_grad(self.params, self.inputs)
        return Gradient(float(loss), _flat(grads), {k: int(v) for k, v in counts.items()})

    def work(self) -> None:
        with self.jax.default_matmul_precision(self.precision):
            self._work()

    def _work(self) -> None:
        if self.workload.unit == "iteration":
            self.params, self.state, loss = self.iteration(self.params, self.state, self.inputs)
            self.jax.block_until_ready((self.params, loss))
        else:
            self.jax.block_until_ready(self.value_and_grad(self.params, self.inputs))

    def theta(self) -> Array:
        return _flat(self.params[:1] if self.workload.kind == "module" else self.params)

    def field(self, params: Any, t: Any, y: Any) -> Any:
        """f(t, y) for `y` `(dim,)` or `(batch, dim)`."""
        if self.own is not None:
            names = [name for name, _ in self.workload.spec["slots"]]
            return self.own(dict(zip(names, params[0], strict=True)), t, y)
        jnp, described = self.jax.numpy, self.workload.spec
        between = {"tanh": jnp.tanh, "softplus": self.jax.nn.softplus}[str(described["activation"])]
        x = y ** int(described.get("input_power", 1))
        for k, layer in enumerate(params):
            x = self._layer(layer, t, x)
            if k < len(params) - 1:
                x = between(x)
        return x

    def _layer(self, layer: Any, t: Any, x: Any) -> Any:
        W, b, *gating = layer
        u = (W @ x if x.ndim == 1 else x @ W.T) + b
        if not gating:
            return u
        w_g, b_g, w_b = gating
        return u * self.jax.nn.sigmoid(w_g * t + b_g) + w_b * t

    def flow_field(self, params: Any, t: Any, state: Any, probes: Any) -> Any:
        """d/dt (z, l) for `state` a pair of z `(batch, dim)` and l `(batch,)`, by forward-mode products."""
        jax, jnp = self.jax, self.jax.numpy
        z = state[0]

        def f(z: Any) -> Any:
            return self.field(params, t, z)

        if probes is not None:
            slope, product = jax.jvp(f, (z,), (probes,))
            return slope, -(product * probes).sum(-1)
        eye = jnp.broadcast_to(jnp.eye(z.shape[1], dtype=z.dtype)[:, None, :], (z.shape[1], *z.shape))
        slope, products = jax.vmap(lambda e: jax.jvp(f, (z,), (e,)), out_axes=(None, 0))(eye)
        return slope, -jnp.einsum("kbk->b", products)

    def negative_log_likelihood(self, z: Any, change: Any) -> Any:
        """The mean over the rows that have become `z`, their log-density by `change`."""
        log_normal = -0.5 * ((z**2).sum(-1) + z.shape[1] * math.log(2 * math.pi))
        return -(log_normal - change).mean()


def _flat(params: Any) -> Array:
    return np.concatenate([np.asarray(t, dtype=np.float64).reshape(-1) for layer in params for t in layer])


class Jax(JaxEntrant):
    """Written as one would by hand: stages unrolled in the body, one scan over all steps."""

    name: ClassVar[str] = "jax"

    @classmethod
    def variants(cls, workload: Workload) -> tuple[str, ...]:
        return by_precision(workload)

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

        if workload.kind == "module":
            y, _ = self.jax.lax.scan(step, params[1][0], grid)
            return (y**2).mean(), {}
        y0 = inputs["y0"]
        if workload.kind == "series":
            _, ys = self.jax.lax.scan(step, y0, grid)
            ys = jnp.concatenate((y0[None], ys[steps - 1 :: steps]))
            return ((ys - inputs["data"]) ** 2).sum(), {}
        (z, change), _ = self.jax.lax.scan(step, (y0, jnp.zeros(len(y0), self.dtype)), grid)
        return self.negative_log_likelihood(z, change), {}

    def _slope(self, params: Any, t: Any, state: Any, inputs: Any) -> Any:
        if self.workload.kind != "flow":
            return self.field(params, t, state)
        return self.flow_field(params, t, state, inputs.get("probes"))


def _combined(tree: Any, state: Any, weights: Any, slopes: list[Any], h: Any) -> Any:
    """state + h sum_j weights_j slopes_j, over all parts of the state."""
    for weight, slope in zip(weights, slopes, strict=True):
        if weight:
            state = tree(lambda y, k, w=weight: y + (h * w) * k, state, slope)
    return state


class Diffrax(JaxEntrant):
    """Disc-Opt: the workload's tableau as a solver of Diffrax's, `RecursiveCheckpointAdjoint` (its default).

    Opt-Disc: Tsit5 with `BacksolveAdjoint`, the continuous adjoint, and with `RecursiveCheckpointAdjoint`, which
    differentiates the steps that were taken.
    """

    name: ClassVar[str] = "diffrax"
    packages: ClassVar[tuple[str, ...]] = ("jax", "optax", "diffrax")
    distributions: ClassVar[tuple[str, ...]] = ("jax", "jaxlib", "optax", "diffrax")

    @classmethod
    def unfit(cls, workload: Workload) -> str | None:
        if workload.kind == "module" and workload.module not in DIFFRAX:
            return few("diffrax", DIFFRAX)
        return super().unfit(workload)

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
        start = params[1][0] if workload.kind == "module" else inputs["y0"]
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
        if workload.kind == "module":
            return (solution.ys[-1] ** 2).mean(), counts
        return ((solution.ys - inputs["data"]) ** 2).sum(), counts

    def _slope(self, t: Any, state: Any, args: Any) -> Any:
        params, probes = args
        if self.workload.kind != "flow":
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
