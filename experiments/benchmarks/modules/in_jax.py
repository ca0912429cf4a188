"""The same nets as functions f(p, t, y) of JAX, where p holds the parameters by the names that torch has for them."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any

Params = Mapping[str, Any]


def _linear(p: Params, name: str, x: Any) -> Any:
    y = x @ p[f"{name}.weight"].T
    return y + p[f"{name}.bias"] if f"{name}.bias" in p else y


def _sequence(p: Params, name: str, layers: int, activation: Callable[[Any], Any], x: Any) -> Any:
    """`nn.Sequential` of linear layers with an activation in between."""
    for k in range(layers):
        x = _linear(p, f"{name}.{2 * k}", x)
        x = activation(x) if k < layers - 1 else x
    return x


def fields() -> dict[str, Callable[[Params, Any, Any], Any]]:
    """All fields by name."""
    import jax
    import jax.numpy as jnp
    from jax import nn

    tanh, sigmoid = jnp.tanh, nn.sigmoid

    def spiral(p: Params, t: Any, y: Any) -> Any:  # noqa: ARG001
        return _sequence(p, "net", 2, tanh, y**3)

    def concatenated_time(p: Params, t: Any, y: Any) -> Any:
        time = jnp.full((len(y), 1), t, y.dtype)
        return _sequence(p, "net", 3, nn.silu, jnp.concatenate([y, time], 1))

    def embedded_time(p: Params, t: Any, y: Any) -> Any:
        angles = t * jnp.exp(-math.log(10.0) * jnp.arange(8, dtype=y.dtype) / 8)
        time = _sequence(p, "embed", 2, nn.silu, jnp.concatenate([jnp.sin(angles), jnp.cos(angles)]))
        return _linear(p, "outer", nn.silu(_linear(p, "inner", y) * (1 + time[:64]) + time[64:]))

    def concatsquash(p: Params, t: Any, y: Any) -> Any:
        time = jnp.reshape(t, (1, 1)).astype(y.dtype)
        for k in range(3):
            name = f"layers.{k}"
            y = _linear(p, f"{name}.layer", y) * sigmoid(_linear(p, f"{name}.gate", time))
            y = y + _linear(p, f"{name}.bias", time)
            y = tanh(y) if k < 2 else y
        return y

    def hyper(p: Params, t: Any, y: Any) -> Any:
        time = jnp.reshape(t, (1,)).astype(y.dtype)
        for k, outputs in enumerate((32, 2)):
            row = _sequence(p, f"layers.{k}.weights", 2, tanh, time)
            y = y @ row[outputs:].reshape(outputs, -1).T + row[:outputs]
            y = tanh(y) if k < 1 else y
        return y

    def residual(p: Params, t: Any, y: Any) -> Any:  # noqa: ARG001
        h = _linear(p, "inner", y)
        for k in range(2):
            centred = h - h.mean(-1, keepdims=True)
            normal = centred * jax.lax.rsqrt((centred**2).mean(-1, keepdims=True) + 1e-5)
            normal = normal * p[f"norms.{k}.weight"] + p[f"norms.{k}.bias"]
            h = h + nn.gelu(_linear(p, f"blocks.{k}", normal), approximate=False)
        return _linear(p, "outer", h)

    def weight_norm(p: Params, t: Any, y: Any) -> Any:  # noqa: ARG001
        for k in (0, 2):
            length, direction = (p[f"net.{k}.parametrizations.weight.original{i}"] for i in range(2))
            weight = length * direction / jnp.sqrt((direction**2).sum(1, keepdims=True))
            y = y @ weight.T + p[f"net.{k}.bias"]
            y = nn.elu(y) if k < 2 else y
        return y

    def antisymmetric(p: Params, t: Any, y: Any) -> Any:  # noqa: ARG001
        return tanh(y @ (p["W"] - p["W"].T - 0.1 * jnp.eye(32, dtype=y.dtype)).T + p["b"])

    def hamiltonian(p: Params, t: Any, y: Any) -> Any:  # noqa: ARG001
        slope = jax.grad(lambda x: _sequence(p, "energy", 2, tanh, x).sum())(y)
        return jnp.concatenate([slope[:, 2:], -slope[:, :2]], 1)

    def second_order(p: Params, t: Any, y: Any) -> Any:  # noqa: ARG001
        v = y[:, 2:]
        return jnp.concatenate([v, _sequence(p, "force", 2, nn.softplus, y) - 0.1 * v], 1)

    def lotka_volterra(p: Params, t: Any, y: Any) -> Any:  # noqa: ARG001
        prey, predator = y[:, 0], y[:, 1]
        meetings = prey * predator
        known = [p["alpha"] * prey - p["beta"] * meetings, p["gamma"] * meetings - p["delta"] * predator]
        return jnp.stack(known, 1) + 0.1 * _sequence(p, "net", 2, tanh, y)

    def gru(p: Params, t: Any, y: Any) -> Any:  # noqa: ARG001
        r, z = sigmoid(_linear(p, "reset", y)), sigmoid(_linear(p, "update", y))
        return (1 - z) * (tanh(_linear(p, "new", r * y)) - y)

    first = [spiral, concatenated_time, embedded_time, concatsquash, hyper, residual, weight_norm, antisymmetric]
    others = [hamiltonian, second_order, lotka_volterra, gru]
    return {f.__name__.replace("_", "-"): f for f in first + others}
