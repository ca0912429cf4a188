"""Rules for operators that work number by number."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from pynode.tapes.tracing import labels as lb
from pynode.tapes.tracing.rules import Unsupported, rule
from pynode.tapes.tracing.tracer import Tracer

Make = Callable[[Tracer, int, int], int]


def unary(tracer: Tracer, name: str, x: int, width: int, *numbers: float) -> int:
    """The register of a function of one register; its own width where it has a single column."""
    width = min(width, tracer.builder.width_of(x))
    return tracer.builder.operation(name, (x,), width, numbers)


def affine(tracer: Tracer, x: int, width: int, scale: float, offset: float) -> int:
    """scale x + offset."""
    if (scale, offset) == (1.0, 0.0):
        return x
    if (inner := tracer.builder.affine_at(x)) is not None:
        below, inner_scale, inner_offset = inner
        return affine(tracer, below, width, scale * inner_scale, scale * inner_offset + offset)
    return unary(tracer, "affine", x, width, scale, offset)


def binary(tracer: Tracer, name: str, a: int, b: int, *numbers: float) -> int:
    """The register of a function of two."""
    if name == "add":
        (a, alpha), (b, beta) = (_unscaled(tracer, x, factor) for x, factor in zip((a, b), numbers, strict=True))
        numbers = alpha, beta
    width = max(tracer.builder.width_of(a), tracer.builder.width_of(b))
    return tracer.builder.operation(name, (a, b), width, numbers)


def _unscaled(tracer: Tracer, x: int, factor: float) -> tuple[int, float]:
    """factor x as a multiple of what `x` itself is a multiple of."""
    inner = tracer.builder.affine_at(x)
    return (x, factor) if inner is None or inner[2] != 0.0 else (inner[0], factor * inner[1])


def define(names: tuple[str, ...], make: Callable[..., int]) -> None:
    """The rule for operators of one tensor and numbers, `make(tracer, x, width, *numbers)`."""

    @rule(*names)
    def act(tracer: Tracer, result: Tensor, x: Tensor, *args: Any, **kwargs: Any) -> Tensor:
        for value in (*args, *kwargs.values()):
            if isinstance(value, Tensor):
                raise Unsupported("an option of an activation is a tensor")
        return tracer.elementwise(
            result.shape, [x], lambda inputs, width: make(tracer, inputs[0], width, *args, **kwargs)
        )


def _plain(name: str) -> Callable[..., int]:
    def make(tracer: Tracer, x: int, width: int, **_: Any) -> int:
        return unary(tracer, name, x, width)

    return make


for _name in ("tanh", "sigmoid", "relu", "mish", "sin", "cos", "exp", "log", "sqrt", "abs", "reciprocal", "square",
              "erf", "expm1", "log1p", "atan", "sign", "silu"):  # fmt: skip
    define((_name,), _plain(_name))


def _scaled(scale: float, name: str, factor: float = 1.0) -> Callable[..., int]:
    """factor f(scale x)."""

    def make(tracer: Tracer, x: int, width: int) -> int:
        return affine(tracer, unary(tracer, name, affine(tracer, x, width, scale, 0.0), width), width, factor, 0.0)

    return make


def _clamp(tracer: Tracer, x: int, width: int, low: Any = None, high: Any = None, **named: Any) -> int:
    low, high = named.get("min", low), named.get("max", high)
    return unary(tracer, "clamp", x, width, -math.inf if low is None else low, math.inf if high is None else high)


def _elu(tracer: Tracer, x: int, width: int, alpha: float = 1.0, scale: float = 1.0, input_scale: float = 1.0) -> int:
    if input_scale == 1.0:
        return unary(tracer, "elu", x, width, alpha, scale)
    # scale x above 0, where elu(input_scale x) would be input_scale times too large
    y = unary(tracer, "elu", affine(tracer, x, width, input_scale, 0.0), width, alpha * input_scale, 1.0)
    return affine(tracer, y, width, scale / input_scale, 0.0)


def _softplus(tracer: Tracer, x: int, width: int, beta: float = 1.0, threshold: float = 20.0) -> int:
    return unary(tracer, "softplus", x, width, beta, threshold)


def _gelu(tracer: Tracer, x: int, width: int, *, approximate: str = "none") -> int:
    return unary(tracer, "gelu_tanh" if approximate == "tanh" else "gelu", x, width)


def _power(tracer: Tracer, x: int, width: int, exponent: float) -> int:
    exponent = float(exponent)
    if exponent == 0.0:
        return affine(tracer, x, width, 0.0, 1.0)
    simple = {1.0: "affine", 2.0: "square", 0.5: "sqrt", -1.0: "reciprocal"}.get(exponent)
    if simple == "affine":
        return x
    return unary(tracer, simple, x, width) if simple else unary(tracer, "power", x, width, exponent)


define(("neg",), lambda tracer, x, width: affine(tracer, x, width, -1.0, 0.0))
define(("clamp",), _clamp)
define(("clamp_min",), lambda tracer, x, width, low: _clamp(tracer, x, width, low))
define(("clamp_max",), lambda tracer, x, width, high: _clamp(tracer, x, width, None, high))
define(("elu",), _elu)
define(("celu",), lambda tracer, x, width, alpha=1.0: _elu(tracer, x, width, alpha, 1.0, 1.0 / alpha))
define(("selu",), lambda tracer, x, width: _elu(tracer, x, width, 1.6732632423543772848170429916717,
                                                1.0507009873554804934193349852946))  # fmt: skip
define(("softplus",), _softplus)
define(("gelu",), _gelu)
define(("leaky_relu",), lambda tracer, x, width, slope=0.01: unary(tracer, "leaky_relu", x, width, slope))
define(("exp2",), _scaled(math.log(2.0), "exp"))
define(("log2",), lambda tracer, x, width: affine(tracer, unary(tracer, "log", x, width), width, 1 / math.log(2), 0.0))
define(("log10",), lambda tracer, x, width: affine(tracer, unary(tracer, "log", x, width), width, 1 / math.log(10), 0))
define(("rsqrt",), lambda tracer, x, width: unary(tracer, "reciprocal", unary(tracer, "sqrt", x, width), width))
define(("logical_not",), lambda tracer, x, width: unary(tracer, "equal", x, width, 0.0))


@rule("floor", "ceil", "round", "trunc", "frac", "floor_divide", "remainder", "fmod")
def _no_steps(*_: Any, **__: Any) -> Tensor:
    raise Unsupported("it rounds numbers, and pynode has no rule for that")


@rule("bitwise_not")
def _not(tracer: Tracer, result: Tensor, x: Tensor) -> Tensor:
    if x.dtype is not torch.bool:
        raise Unsupported("it works with integers that depend on t, y or parameters")
    return tracer.elementwise(result.shape, [x], lambda i, width: affine(tracer, i[0], width, -1.0, 1.0))


@rule("pow")
def _pow(tracer: Tracer, result: Tensor, x: Any, exponent: Any) -> Tensor:
    if not isinstance(exponent, Tensor):
        return tracer.elementwise(result.shape, [x], lambda i, width: _power(tracer, i[0], width, exponent))
    own = tracer.operand(exponent, result.shape)
    if bool((lb.sources(own) == lb.LITERALS).all()):
        base, made = tracer.operand(x, result.shape), own.clone()
        for place in torch.unique(own).tolist():  # each for its own columns: others may have no derivative
            here = own == place
            number = tracer.builder.literals[place & lb.COLUMN_MASK]
            rows = tracer.arranged([base[here]])
            columns = tracer.input(tracer.columns_of(base[here], rows))
            power = _power(tracer, columns, rows.columns, number)
            made[here] = tracer.result(power, rows, tuple(base[here].shape))
        return made

    with tracer:
        powers = power_of(x, exponent)
    return tracer.operand(powers, result.shape)


def power_of(x: Any, exponent: Tensor) -> Tensor:
    """x ** exponent as exp(exponent log x), with torch's derivatives at x = 0."""
    if not isinstance(x, Tensor):
        return torch.exp(exponent * math.log(x)) if x > 0 else torch.as_tensor(x).to(exponent) ** exponent
    zero = x == 0
    powers = torch.exp(exponent * torch.log(torch.where(zero, 1.0, x)))
    steep = zero & (exponent < 1)
    at_zero = x * (exponent == 1) + torch.sqrt(torch.where(steep, x, 1.0)) * steep + (exponent == 0).to(x.dtype)
    return torch.where(zero, at_zero, powers)


# --- two operands ----------------------------------------------------------------------------------------------------


def _linear_in(tracer: Tracer, result: Tensor, a: Any, b: Any, alpha: float, beta: float) -> Tensor:
    """alpha a + beta b, where either may be a number."""
    shape = result.shape
    for number, other, own, scale in ((b, a, beta, alpha), (a, b, alpha, beta)):
        value = _number_in(tracer, number, shape)
        if value is not None:
            return tracer.elementwise(
                shape,
                [other],
                lambda i, width, own=own, value=value, scale=scale: affine(tracer, i[0], width, scale, own * value),
            )
    return tracer.elementwise(shape, [a, b], lambda i, _: binary(tracer, "add", i[0], i[1], alpha, beta))


def _number_in(tracer: Tracer, x: Any, shape: Any) -> float | None:
    """The number that `x` is, or all of whose entries it is."""
    if not isinstance(x, Tensor):
        return float(x)
    return (
        tracer.number(tracer.operand(x, shape).reshape(-1)[:1])
        if x.numel() == 1
        else tracer.number(tracer.operand(x, shape).reshape(-1))
    )


@rule("add")
def _add(tracer: Tracer, result: Tensor, a: Any, b: Any, *, alpha: float = 1.0) -> Tensor:
    return _linear_in(tracer, result, a, b, 1.0, float(alpha))


@rule("sub", "subtract")
def _sub(tracer: Tracer, result: Tensor, a: Any, b: Any, *, alpha: float = 1.0) -> Tensor:
    return _linear_in(tracer, result, a, b, 1.0, -float(alpha))


@rule("rsub")
def _rsub(tracer: Tracer, result: Tensor, a: Any, b: Any, alpha: float = 1.0) -> Tensor:
    return _linear_in(tracer, result, a, b, -float(alpha), 1.0)


@rule("mul", "multiply", "bitwise_and", "logical_and", "__and__")
def _mul(tracer: Tracer, result: Tensor, a: Any, b: Any) -> Tensor:
    shape = result.shape
    for number, other in ((b, a), (a, b)):
        value = _number_in(tracer, number, shape)
        if value is not None:
            return tracer.elementwise(shape, [other], lambda i, width, v=value: affine(tracer, i[0], width, v, 0.0))

    def make(inputs: list[int], width: int) -> int:
        if inputs[0] == inputs[1]:
            return unary(tracer, "square", inputs[0], width)
        return binary(tracer, "multiply", *inputs)

    return tracer.elementwise(shape, [a, b], make)


@rule("div", "divide", "true_divide")
def _div(tracer: Tracer, result: Tensor, a: Any, b: Any, *, rounding_mode: str | None = None) -> Tensor:
    if rounding_mode is not None:
        _no_steps()
    shape = result.shape
    value = _number_in(tracer, b, shape)
    if value is not None and value != 0.0 and math.isfinite(1.0 / value):
        return tracer.elementwise(shape, [a], lambda i, width: affine(tracer, i[0], width, 1.0 / value, 0.0))
    above = _number_in(tracer, a, shape)
    if above is not None:

        def scaled(inputs: list[int], width: int) -> int:
            return affine(tracer, unary(tracer, "reciprocal", inputs[0], width), width, above, 0.0)

        return tracer.elementwise(shape, [b], scaled)

    def make(inputs: list[int], width: int) -> int:
        return binary(tracer, "multiply", inputs[0], unary(tracer, "reciprocal", inputs[1], width))

    return tracer.elementwise(shape, [a, b], make)


@rule("bitwise_xor", "logical_xor", "__xor__")
def _xor(tracer: Tracer, result: Tensor, a: Tensor, b: Tensor) -> Tensor:
    def make(inputs: list[int], width: int) -> int:
        return unary(tracer, "square", binary(tracer, "add", inputs[0], inputs[1], 1.0, -1.0), width)

    return tracer.elementwise(result.shape, [a, b], make)


@rule("bitwise_or", "logical_or", "__or__")
def _or(tracer: Tracer, result: Tensor, a: Tensor, b: Tensor) -> Tensor:
    def make(inputs: list[int], width: int) -> int:
        return unary(tracer, "greater", binary(tracer, "add", inputs[0], inputs[1], 1.0, 1.0), width, 0.0)

    return tracer.elementwise(result.shape, [a, b], make)


def _compare(names: tuple[str, ...], name: str, sign: float, negated: bool) -> None:
    """a ? b as `name` of sign (a - b) at 0, or of sign a at the number sign b."""

    @rule(*names)
    def act(tracer: Tracer, result: Tensor, a: Any, b: Any) -> Tensor:
        shape = result.shape

        def finish(register: int, width: int) -> int:
            return affine(tracer, register, width, -1.0, 1.0) if negated else register

        if name == "equal" and isinstance(a, Tensor) and isinstance(b, Tensor):
            both = tracer.operand(a, shape), tracer.operand(b, shape)
            if torch.equal(*both):  # a test for NaN
                return tracer.elementwise(
                    shape, [a], lambda i, width: finish(unary(tracer, "at_least", i[0], width, -math.inf), width)
                )
        value = _number_in(tracer, b, shape)

        if value is not None:
            return tracer.elementwise(
                shape,
                [a],
                lambda i, width: finish(
                    unary(tracer, name, affine(tracer, i[0], width, sign, 0.0), width, sign * value), width
                ),
            )

        def make(inputs: list[int], width: int) -> int:
            difference = binary(tracer, "add", inputs[0], inputs[1], sign, -sign)
            return finish(unary(tracer, name, difference, width, 0.0), width)

        return tracer.elementwise(shape, [a, b], make)


_compare(("gt", "greater"), "greater", 1.0, negated=False)
_compare(("ge", "greater_equal"), "at_least", 1.0, negated=False)
_compare(("lt", "less"), "greater", -1.0, negated=False)
_compare(("le", "less_equal"), "at_least", -1.0, negated=False)
_compare(("eq",), "equal", 1.0, negated=False)
_compare(("ne", "not_equal"), "equal", 1.0, negated=True)


@rule("where")
def _where(tracer: Tracer, result: Tensor, mask: Tensor, a: Any, b: Any) -> Tensor:
    shape = result.shape
    # numbers come in the dtype that torch gives them
    a, b = (x if isinstance(x, Tensor) else torch.tensor(x, dtype=result.dtype).item() for x in (a, b))
    if not tracer.is_labelled(mask):
        return torch.where(mask, tracer.operand(a, shape), tracer.operand(b, shape))

    def make(inputs: list[int], _: int) -> int:
        widths = [tracer.builder.width_of(i) for i in inputs]
        return tracer.builder.operation("choose", tuple(inputs), max(widths))

    return tracer.elementwise(shape, [mask, a, b], make)


@rule("masked_fill")
def _masked_fill(tracer: Tracer, result: Tensor, x: Tensor, mask: Tensor, value: Any) -> Tensor:
    return _where(tracer, result, mask, value, x)


@rule("_to_copy", "to", "_copy_from")
def _to_copy(tracer: Tracer, result: Tensor, x: Tensor, *_: Any, **__: Any) -> Tensor:
    if x.is_floating_point() and result.dtype is not x.dtype:
        raise Unsupported(f"it computes in {result.dtype}, its state is {x.dtype}")
    if not result.is_floating_point() and result.dtype is not torch.bool:
        raise Unsupported("it makes integers of numbers that depend on t, y or parameters")
    return tracer.operand(x, x.shape)


@rule("copy", "fill")
def _copy(tracer: Tracer, result: Tensor, x: Tensor, value: Any, *_: Any) -> Tensor:  # noqa: ARG001
    return tracer.operand(value, result.shape)


@rule("zero")
def _zero(tracer: Tracer, result: Tensor, x: Tensor) -> Tensor:  # noqa: ARG001
    return tracer.operand(0.0, result.shape)


@rule("addcmul")
def _addcmul(tracer: Tracer, result: Tensor, x: Any, a: Any, b: Any, *, value: float = 1.0) -> Tensor:
    def make(inputs: list[int], _: int) -> int:
        return binary(tracer, "add", inputs[0], binary(tracer, "multiply", inputs[1], inputs[2]), 1.0, float(value))

    return tracer.elementwise(result.shape, [x, a, b], make)
