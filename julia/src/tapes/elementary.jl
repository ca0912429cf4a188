# exp, tanh and sigmoid without branches: those of Base have some, and a loop over them is not vectorised.
#
# All stand on e^x = 2^n (1 + p) with n = round(x / ln 2) and p = e^r - 1 on |r| <= ln 2 / 2 by its Taylor series, whose
# first left-out term is below a rounding error. The formulas are those of pynode's kernels; numbers that are no floats,
# such as duals, take Base's functions.

const SHIFT64, SHIFT32 = 1.5 * 2.0^52,
    1.5f0 * 2.0f0^23 # x + SHIFT - SHIFT is x rounded, and its last bits are that number
const TAYLOR64 = ntuple(k -> 1 / factorial(k + 1), 12)
const TAYLOR32 = ntuple(k -> Float32(1 / factorial(k + 1)), 7)

"`(n + SHIFT, r)` with x = n ln 2 + r; ln 2 is taken in two parts, so that n times the first is exact."
@inline function reduced(x::Float64)
    shifted = muladd(x, 1.4426950408889634, SHIFT64)
    n = shifted - SHIFT64
    return shifted, muladd(n, -1.90821492927058770002e-10, muladd(n, -6.9314718036912381649e-1, x))
end

@inline function reduced(x::Float32)
    shifted = muladd(x, 1.442695f0, SHIFT32)
    n = shifted - SHIFT32
    return shifted, muladd(n, 2.1219444f-4, muladd(n, -0.693359375f0, x))
end

"2^(n + shift) from n + SHIFT."
@inline power_of_two(n::Float64, shift) = reinterpret(Float64, (reinterpret(Int64, n) + (1023 + shift)) << 52)
@inline power_of_two(n::Float32, shift) = reinterpret(
    Float32,
    (reinterpret(Int32, n) + (Int32(127) + Int32(shift))) << 23,
)

"e^r - 1 for |r| <= ln 2 / 2."
@inline small_power(r::Float64) = muladd(r * r, evalpoly(r, TAYLOR64), r)
@inline small_power(r::Float32) = muladd(r * r, evalpoly(r, TAYLOR32), r)

exponent_range(::Type{Float64}) = (-707.0, 709.782712893384)
exponent_range(::Type{Float32}) = (-86.6f0, 88.72283f0)

"e^x; 0 where it would have fewer bits than other numbers."
@inline function quick_exp(x::T) where {T <: Union{Float32, Float64}}
    low, high = exponent_range(T)
    n, r = reduced(x)
    half = power_of_two(n, -1) # 2^n itself is too large just below the end
    power = 2 * muladd(half, small_power(r), half)
    return ifelse(x < low, zero(x), ifelse(x <= high, power, x + T(Inf))) # above: infinity, or NaN
end

quick_exp(x) = exp(x)

"tanh(x) = m / (m + 2) with m = e^(2 x) - 1."
@inline function quick_tanh(x::T) where {T <: Union{Float32, Float64}}
    y = 2 * x
    n, r = reduced(ifelse(y > T(40), T(40), ifelse(y < T(-40), T(-40), y)))
    power = power_of_two(n, 0)
    m = muladd(power, small_power(r), power - one(T))
    return m / (m + 2)
end

quick_tanh(x) = tanh(x)

@inline sigmoid(x) = inv(one(x) + quick_exp(-x))

# 2 / (2 k + 1), the series of 2 artanh(s) / s in powers of s^2 <= 1/9
const ARTANH64 = ntuple(k -> 2 / (2k - 1), 17)
const ARTANH32 = ntuple(k -> 2.0f0 / (2k - 1), 8)
@inline artanh_series(w::Float64) = evalpoly(w, ARTANH64)
@inline artanh_series(w::Float32) = evalpoly(w, ARTANH32)

"log(1 + e^y) = max(y, 0) + log(1 + z) with z = e^-|y|, which is 2 artanh(z / (2 + z))."
@inline function quick_softplus(y::Union{Float32, Float64})
    z = quick_exp(-abs(y))
    s = z / (2 + z)
    return ifelse(y < 0, zero(y), y) + s * artanh_series(s * s)
end

quick_softplus(y) = max(y, zero(y)) + log1p(exp(-abs(y)))

# Functions of real numbers that Base refuses outside of their domains, where torch gives NaN.

nan_like(x) = oftype(x, NaN)
real_log(x) = x < 0 ? nan_like(x) : log(x)
real_log1p(x) = x < -1 ? nan_like(x) : log1p(x)
real_sqrt(x) = x < 0 ? nan_like(x) : sqrt(x)
real_sin(x) = isinf(x) ? nan_like(x) : sin(x)
real_cos(x) = isinf(x) ? nan_like(x) : cos(x)

"x^n for 0 <= n < 16 by products."
@inline function whole_power(x, n::Int)
    result, factor = one(x), x
    for _ in 1:4
        result = ifelse(isodd(n), result * factor, result)
        factor *= factor
        n >>= 1
    end
    return result
end

"x^p as C has it: NaN below 0 where p is not whole, but infinite at -infinity for p > 0."
@inline function power(x, p)
    if abs(p) < 16 && isinteger(p)
        result = whole_power(x, unsafe_trunc(Int, abs(p)))
        return p < 0 ? inv(result) : result
    end
    (x >= 0 || isinteger(p)) && return x^p
    return x == -Inf ? (-x)^p : nan_like(x)
end
