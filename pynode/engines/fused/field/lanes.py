"""Vectors whose operators write LLVM instructions, for formulas that are ordinary functions of them.

Numba would infer the types of every line of a formula, which takes longer than everything else in compiling a kernel.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from llvmlite import ir

from pynode.engines.fused.simd import emit_call, emit_muladd, suffix

SHIFT = {64: 1.5 * 2.0**52, 32: 1.5 * 2.0**23}
"""Added to a number it leaves the nearest integer in the last bits."""
EXPONENT = {64: (1023, 52), 32: (127, 23)}
"""Bias and place of a number's exponent."""
SMALLEST = {64: (2.0**-1022, 54), 32: (2.0**-126, 25)}
"""Below it numbers have fewer bits; times two to the power that is given, they have all."""
ROOT_HALF = {64: 0x3FE6A09E667F3BCD, 32: 0x3F3504F3}
"""The bits of sqrt(1 / 2)."""
TOP_HALF = {64: -1 << 27, 32: -1 << 12}
"""A mask of the bits of a number whose square is exact."""


class Lanes:
    """A vector in a program that is being written; operators write instructions."""

    def __init__(self, builder: Any, value: Any) -> None:
        self.builder, self.value = builder, value
        self.bits = 64 if isinstance(value.type.element, ir.DoubleType) else 32

    def of(self, x: Lanes | float) -> Any:
        """The LLVM value of `x`, a number in every lane."""
        if isinstance(x, Lanes):
            return x.value
        return ir.Constant(self.value.type, [float(x)] * self.value.type.count)

    def _write(self, instruction: str, a: Any, b: Any) -> Lanes:
        # contraction to a fused multiply-add only takes roundings away
        return Lanes(self.builder, getattr(self.builder, instruction)(self.of(a), self.of(b), flags=("contract",)))

    def __add__(self, x: Lanes | float) -> Lanes:
        return self._write("fadd", self, x)

    def __radd__(self, x: float) -> Lanes:
        return self._write("fadd", x, self)

    def __sub__(self, x: Lanes | float) -> Lanes:
        return self._write("fsub", self, x)

    def __rsub__(self, x: float) -> Lanes:
        return self._write("fsub", x, self)

    def __mul__(self, x: Lanes | float) -> Lanes:
        return self._write("fmul", self, x)

    def __rmul__(self, x: float) -> Lanes:
        return self._write("fmul", x, self)

    def __truediv__(self, x: Lanes | float) -> Lanes:
        return self._write("fdiv", self, x)

    def __rtruediv__(self, x: float) -> Lanes:
        return self._write("fdiv", x, self)

    def __neg__(self) -> Lanes:
        return Lanes(self.builder, self.builder.fneg(self.value))

    def __abs__(self) -> Lanes:
        kind = self.value.type
        return Lanes(self.builder, emit_call(self.builder, f"llvm.fabs.{suffix(kind)}", kind, self.value))

    def times_plus(self, b: Lanes | float, c: Lanes | float) -> Lanes:
        """self * b + c."""
        return Lanes(self.builder, emit_muladd(self.builder, self.value, self.of(b), self.of(c)))

    def fused(self, b: Lanes | float, c: Lanes | float) -> Lanes:
        """self * b + c with one rounding, on every machine."""
        kind = self.value.type
        operands = (self.value, self.of(b), self.of(c))
        return Lanes(self.builder, emit_call(self.builder, f"llvm.fma.{suffix(kind)}", kind, *operands))

    def at_most(self, bound: Lanes | float) -> Lanes:
        """The smaller of the two; NaN stays NaN."""
        above = self.builder.fcmp_ordered(">", self.value, self.of(bound))
        return Lanes(self.builder, self.builder.select(above, self.of(bound), self.value))

    def at_least(self, bound: Lanes | float) -> Lanes:
        """The larger of the two; NaN stays NaN."""
        below = self.builder.fcmp_ordered("<", self.value, self.of(bound))
        return Lanes(self.builder, self.builder.select(below, self.of(bound), self.value))

    def root(self) -> Lanes:
        """sqrt(self)."""
        kind = self.value.type
        return Lanes(self.builder, emit_call(self.builder, f"llvm.sqrt.{suffix(kind)}", kind, self.value))

    def with_sign_of(self, x: Lanes) -> Lanes:
        """|self| with the sign of `x`."""
        kind = self.value.type
        signed = emit_call(self.builder, f"llvm.copysign.{suffix(kind)}", kind, self.value, x.value)
        return Lanes(self.builder, signed)

    def is_(self, relation: str, x: Lanes | float) -> Any:
        """Where `self` stands in `relation` ("<", "==", ...) to `x`: a mask, false where one is NaN."""
        return self.builder.fcmp_ordered(relation, self.value, self.of(x))

    def choose(self, mask: Any, x: Lanes | float) -> Lanes:
        """self where the mask holds, else `x`."""
        return Lanes(self.builder, self.builder.select(mask, self.value, self.of(x)))

    def all_within(self, bound: float) -> Any:
        """Whether no lane is beyond +-bound; NaN is not."""
        beyond = abs(self).is_(">", bound)
        bits = ir.IntType(self.value.type.count)
        return self.builder.icmp_unsigned("==", self.builder.bitcast(beyond, bits), bits(0))

    def wide(self) -> Lanes:
        """The numbers in double precision."""
        kind = ir.VectorType(ir.DoubleType(), self.value.type.count)
        return Lanes(self.builder, self.builder.fpext(self.value, kind))

    def narrow(self) -> Lanes:
        """The numbers in single precision."""
        kind = ir.VectorType(ir.FloatType(), self.value.type.count)
        return Lanes(self.builder, self.builder.fptrunc(self.value, kind))

    # bits ------------------------------------------------------------------------------------------------------------

    def _integer_kind(self) -> Any:
        return ir.VectorType(ir.IntType(self.bits), self.value.type.count)

    def _integers(self) -> Any:
        return self.builder.bitcast(self.value, self._integer_kind())

    def _each(self, x: int) -> Any:
        kind = self._integer_kind()
        return ir.Constant(kind, [x] * kind.count)

    def _floats(self, integers: Any) -> Lanes:
        return Lanes(self.builder, self.builder.bitcast(integers, self.value.type))

    def power_of_two(self) -> Lanes:
        """2^n for n + SHIFT: n stands in the last bits, and goes where the exponent is."""
        bias, place = EXPONENT[self.bits]
        n = self.builder.add(self._integers(), self._each(bias))
        return self._floats(self.builder.shl(n, self._each(place)))

    def times_power_of_two(self, shifted: Lanes) -> Lanes:
        """self 2^n for n + SHIFT, where that is a normal number."""
        n = self.builder.shl(shifted._integers(), self._each(EXPONENT[self.bits][1]))
        return self._floats(self.builder.add(self._integers(), n))

    def has_bit(self, i: int) -> Any:
        """Where n has bit i, for n + SHIFT: a mask."""
        bit = self.builder.and_(self._integers(), self._each(1 << i))
        return self.builder.icmp_unsigned("!=", bit, self._each(0))

    def top_half(self) -> Lanes:
        """The number without the last half of its bits; its square is exact."""
        return self._floats(self.builder.and_(self._integers(), self._each(TOP_HALF[self.bits])))

    def split(self) -> tuple[Lanes, Lanes]:
        """(k, m) with self = 2^k m and m in [sqrt(1 / 2), sqrt(2)), for normal positive numbers."""
        bias, place = EXPONENT[self.bits]
        bits, root = self._integers(), ROOT_HALF[self.bits]
        # k stands where the exponent is, after the bits of m's lower bound; a bias keeps it positive
        k = self.builder.lshr(self.builder.add(bits, self._each((bias << place) - root)), self._each(place))
        k = self.builder.sub(k, self._each(bias))
        m = self.builder.sub(bits, self.builder.shl(k, self._each(place)))
        shift = Lanes(self.builder, ir.Constant(self.value.type, [SHIFT[self.bits]] * self.value.type.count))
        return self._floats(self.builder.add(k, shift._integers())) - SHIFT[self.bits], self._floats(m)


class Number(Lanes):
    """A number in every lane, from a double, which stays at hand as `scalar`."""

    def __init__(self, builder: Any, scalar: Any, kind: Any) -> None:
        self.scalar, self._kind = scalar, kind
        if not isinstance(kind.element, ir.DoubleType):
            scalar = builder.fptrunc(scalar, kind.element)
        nothing, index = ir.Constant(kind, ir.Undefined), ir.IntType(32)
        first = builder.insert_element(nothing, scalar, index(0))
        zeros = ir.Constant(ir.VectorType(index, kind.count), [0] * kind.count)
        super().__init__(builder, builder.shuffle_vector(first, nothing, zeros))

    def plus(self, x: float) -> Number:
        """The number plus `x`."""
        return Number(self.builder, self.builder.fadd(self.scalar, ir.DoubleType()(x)), self._kind)


def polynomial(x: Lanes, coefficients: list[float]) -> Lanes | float:
    """sum_k coefficients_k x^k, in pairs of pairs: short chains keep the processor busy."""
    terms: list[Lanes | float] = list(coefficients)
    while len(terms) > 1:
        pairs = [x.times_plus(b, a) for a, b in zip(terms[::2], terms[1::2], strict=False)]
        terms = [*pairs, *terms[2 * len(pairs) :]]
        x = x * x
    return terms[0]


def either(builder: Any, condition: Any, then: Callable[[], Lanes], otherwise: Callable[[], Lanes]) -> Lanes:
    """`then()` where the condition holds, which is one for all lanes, else `otherwise()`; the other is not computed."""
    with builder.if_else(condition) as (is_so, is_not):
        with is_so:
            first = then().value
            first_block = builder.block
        with is_not:
            second = otherwise().value
            second_block = builder.block
    result = builder.phi(first.type)
    result.add_incoming(first, first_block)
    result.add_incoming(second, second_block)
    return Lanes(builder, result)


def operand(builder: Any, value: Any, kind: Any) -> Lanes:
    """`value` for a formula on vectors of type `kind`: such a vector, or a double."""
    return Lanes(builder, value) if value.type == kind else Number(builder, value, kind)


def emit_by_code(builder: Any, name: str, code: Any, operands: Sequence[Any], formulas: Sequence[Any]) -> Any:
    """The value of formula number `code` at `operands`, the first a vector.

    The first formula is written at every place of use, all others once in the module, as function `name`.
    """
    kind = operands[0].type
    usual, others, after = (builder.append_basic_block(b) for b in ("usual", "others", "after"))
    builder.cbranch(builder.icmp_signed("==", code, ir.IntType(64)(0)), usual, others)
    builder.position_at_end(usual)
    first = formulas[0](*(operand(builder, x, kind) for x in operands)).value
    builder.branch(after)
    builder.position_at_end(others)

    def choose(inner: Any, code: Any, *operands: Any) -> None:
        blocks = [inner.append_basic_block("formula") for _ in formulas]
        choice = inner.switch(code, blocks[-1])
        for i, block in enumerate(blocks):
            choice.add_case(ir.IntType(64)(i), block)
            inner.position_at_end(block)
            inner.ret(formulas[i](*(operand(inner, x, kind) for x in operands)).value)

    other = emit_once(builder, name, kind, [code, *operands], choose)
    builder.branch(after)
    builder.position_at_end(after)
    result = builder.phi(kind)
    result.add_incoming(first, usual)
    result.add_incoming(other, others)
    return result


def emit_once(builder: Any, name: str, kind: Any, operands: Sequence[Any], write: Callable[..., None]) -> Any:
    """Calls a function that gives a vector of type `kind`, whose body `write(builder, *operands)` writes.

    It is written once in a module, and kept apart from its callers.
    """
    module, name = builder.module, f"{name}.{suffix(kind)}"
    if name not in module.globals:
        function = ir.Function(module, ir.FunctionType(kind, [x.type for x in operands]), name)
        function.linkage = "linkonce_odr"
        function.attributes.add("noinline")
        write(ir.IRBuilder(function.append_basic_block()), *function.args)
    return builder.call(module.globals[name], operands)
