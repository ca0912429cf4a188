"""What entrants that run on JAX share: the fields as pure functions, optax, and a step of training under one jit."""

from __future__ import annotations

import math
from abc import abstractmethod
from importlib.util import find_spec
from typing import Any, ClassVar

import numpy as np

from experiments.benchmarks.entrants.base import Entrant, Gradient
from experiments.benchmarks.workload import Array, Workload, layers

CUDA_PLUGINS = ("jax_cuda12_plugin", "jax_cuda13_plugin")


class JaxEntrant(Entrant):
    """Subclasses give the loss as a function of theta's tensors; value, gradient and Adam are one compiled call."""

    packages: ClassVar[tuple[str, ...]] = ("jax", "optax")
    distributions: ClassVar[tuple[str, ...]] = ("jax", "jaxlib", "optax")

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
        tensors = layers(self.workload, self.workload.arrays["theta"])
        self.params = [[self._array(t) for t in layer] for layer in tensors]
        self.state = self.optimiser.init(self.params)

    def gradient(self) -> Gradient:
        (loss, counts), grads = self.value_and_grad(self.params, self.inputs)
        return Gradient(float(loss), _flat(grads), {k: int(v) for k, v in counts.items()})

    def work(self) -> None:
        if self.workload.unit == "iteration":
            self.params, self.state, loss = self.iteration(self.params, self.state, self.inputs)
            self.jax.block_until_ready((self.params, loss))
        else:
            self.jax.block_until_ready(self.value_and_grad(self.params, self.inputs))

    def theta(self) -> Array:
        return _flat(self.params)

    def field(self, params: Any, t: Any, y: Any) -> Any:
        """f(t, y) for `y` `(dim,)` or `(batch, dim)`."""
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
