# The functions of one number that tapes know, with first and second derivatives: those that torch's autograd gives,
# also where there is none in the strict sense (0 for |x| at 0, 1 for `clamp` at its bounds). All are inlined, so that
# loops over them can be vectorised.

"""
    UnaryFunction

A function f of one number. With `a = value(f, x)`: `slope(f, x, a)` is f'(x) and `curvature(f, x, a)` is f''(x).
"""
abstract type UnaryFunction end

"A function whose second derivative is 0 wherever it has one."
abstract type PiecewiseLinear <: UnaryFunction end

"A function whose derivative is 0 wherever it has one."
abstract type PiecewiseConstant <: PiecewiseLinear end

@inline curvature(::PiecewiseLinear, x, a) = zero(x)
@inline slope(::PiecewiseConstant, x, a) = zero(x)

has_curvature(::Type{<:UnaryFunction}) = true
has_curvature(::Type{<:PiecewiseLinear}) = false
has_slope(::Type{<:UnaryFunction}) = true
has_slope(::Type{<:PiecewiseConstant}) = false

# --- tanh, sigmoid, softplus, silu, mish -----------------------------------------------------------------------------

struct Tanh <: UnaryFunction end
@inline value(::Tanh, x) = quick_tanh(x)
@inline slope(::Tanh, x, a) = one(a) - a * a
@inline curvature(::Tanh, x, a) = -2 * a * (one(a) - a * a)

struct Sigmoid <: UnaryFunction end
@inline value(::Sigmoid, x) = sigmoid(x)
@inline slope(::Sigmoid, x, a) = a * (one(a) - a)
@inline curvature(::Sigmoid, x, a) = a * (one(a) - a) * (one(a) - 2 * a)

"log(1 + e^(beta x)) / beta; x where beta x is above the threshold."
struct Softplus{T} <: UnaryFunction
    beta::T
    threshold::T
end
Softplus() = Softplus(1.0, 40.0) # pynode's activation, whose threshold changes no float64
@inline value(f::Softplus, x) = (y = f.beta * x; ifelse(y > f.threshold, x, quick_softplus(y) / f.beta))
@inline slope(f::Softplus, x, a) = (y = f.beta * x; ifelse(y > f.threshold, one(y), sigmoid(y)))
@inline function curvature(f::Softplus, x, a)
    y = f.beta * x
    s = sigmoid(y)
    return ifelse(y >= f.threshold, zero(y), s * (one(s) - s) * f.beta)
end

"x sigmoid(x)."
struct Silu <: UnaryFunction end
@inline value(::Silu, x) = x / (one(x) + quick_exp(-x))
@inline slope(::Silu, x, a) = (s = sigmoid(x); s * (one(s) + x * (one(s) - s)))
@inline curvature(::Silu, x, a) = (s = sigmoid(x); s * (one(s) - s) * (2 + x * (one(s) - 2 * s)))

"x tanh(log(1 + e^x)); from MISH_LARGE on it is x."
struct Mish <: UnaryFunction end
const MISH_LARGE = 40
"sigmoid(x), T = tanh(softplus(x)) and 1 - T^2; with e = e^x and n = e (e + 2), T is n / (n + 2)."
@inline function mish_parts(x)
    e = quick_exp(x)
    n = e * (e + 2)
    inverse = inv(n + 2)
    return e / (one(e) + e), n * inverse, 4 * (n + 1) * inverse * inverse
end
@inline below(x, bound) = ifelse(x > bound, oftype(x, bound), x)
@inline value(::Mish, x) = x * mish_parts(below(x, MISH_LARGE))[2]
@inline function slope(::Mish, x, a)
    x = below(x, MISH_LARGE)
    s, t, u = mish_parts(x)
    return t + x * s * u
end
@inline function curvature(::Mish, x, a)
    x = below(x, MISH_LARGE)
    s, t, u = mish_parts(x)
    return s * u * (2 + x * (one(s) - s - 2 * s * t))
end

# --- gelu ------------------------------------------------------------------------------------------------------------

const GELU_LARGE = 50 # beyond, the derivatives of both forms are constant; powers of larger numbers might overflow
@inline within(x, bound) = ifelse(x < -bound, oftype(x, -bound), below(x, bound))

"x times the standard normal distribution function."
struct GeluErf <: UnaryFunction end
normal_below(x) = erfc(-x * oftype(x, sqrt(0.5))) / 2
normal_density(x) = exp(-x * x / 2) * oftype(x, 1 / sqrt(2pi))
@inline value(::GeluErf, x) = x * normal_below(x)
@inline slope(::GeluErf, x, a) = (x = within(x, GELU_LARGE); normal_below(x) + x * normal_density(x))
@inline curvature(::GeluErf, x, a) = (x = within(x, GELU_LARGE); normal_density(x) * (2 - x * x))

"x/2 (1 + tanh(sqrt(2/pi) (x + 0.044715 x^3))), which pynode's architectures mean by gelu."
struct Gelu <: UnaryFunction end
gelu_scale(x) = oftype(x, sqrt(2 / pi))
gelu_cubic(x) = oftype(x, 0.044715)
@inline gelu_inner(x) = quick_tanh(gelu_scale(x) * (x + gelu_cubic(x) * x * x * x))
@inline gelu_stretch(x) = gelu_scale(x) * (one(x) + 3 * gelu_cubic(x) * x * x)
@inline value(::Gelu, x) = x / 2 * (one(x) + gelu_inner(x))
@inline function slope(::Gelu, x, a)
    x = within(x, GELU_LARGE)
    inner = gelu_inner(x)
    return (one(x) + inner) / 2 + x / 2 * (one(x) - inner * inner) * gelu_stretch(x)
end
@inline function curvature(::Gelu, x, a)
    x = within(x, GELU_LARGE)
    inner, stretch = gelu_inner(x), gelu_stretch(x)
    bend = 6 * gelu_scale(x) * gelu_cubic(x) * x
    return (one(x) - inner * inner) * (stretch + x / 2 * (bend - 2 * inner * stretch * stretch))
end

# --- functions in pieces ---------------------------------------------------------------------------------------------

struct Relu <: PiecewiseLinear end
@inline value(::Relu, x) = ifelse(x < 0, zero(x), x)
@inline slope(::Relu, x, a) = ifelse(x <= 0, zero(x), one(x))

struct LeakyRelu{T} <: PiecewiseLinear
    slope::T
end
@inline value(f::LeakyRelu, x) = ifelse(x > 0, x, f.slope * x)
@inline slope(f::LeakyRelu, x, a) = ifelse(x > 0, one(x), oftype(x, f.slope))

"scale * x above 0, scale * alpha (e^x - 1) below."
struct Elu{T} <: UnaryFunction
    alpha::T
    scale::T
end
@inline value(f::Elu, x) = f.scale * (x > 0 ? x : f.alpha * expm1(x))
@inline slope(f::Elu, x, a) = f.scale * ifelse(x > 0, one(x), f.alpha * quick_exp(x))
@inline curvature(f::Elu, x, a) = ifelse(x >= 0, zero(x), f.scale * f.alpha * quick_exp(x))

struct Clamp{T} <: PiecewiseLinear
    low::T
    high::T
end
@inline function value(f::Clamp, x)
    raised = ifelse(x < f.low, oftype(x, f.low), x)
    return ifelse(raised > f.high, oftype(x, f.high), raised) # `high` where the bounds are crossed, as in torch
end
@inline slope(f::Clamp, x, a) = ifelse((x >= f.low) & (x <= f.high), one(x), zero(x))

struct Abs <: PiecewiseLinear end
@inline value(::Abs, x) = abs(x)
@inline slope(::Abs, x, a) = value(Sign(), x)

"scale * x + offset."
struct Affine{T} <: PiecewiseLinear
    scale::T
    offset::T
end
@inline value(f::Affine, x) = f.scale * x + f.offset
@inline slope(f::Affine, x, a) = oftype(x, f.scale)

struct Sign <: PiecewiseConstant end
@inline value(::Sign, x) = ifelse(x > 0, one(x), ifelse(x < 0, -one(x), zero(x)))

struct Greater{T} <: PiecewiseConstant
    bound::T
end
@inline value(f::Greater, x) = ifelse(x > f.bound, one(x), zero(x))

struct AtLeast{T} <: PiecewiseConstant
    bound::T
end
@inline value(f::AtLeast, x) = ifelse(x >= f.bound, one(x), zero(x))

struct Equal{T} <: PiecewiseConstant
    bound::T
end
@inline value(f::Equal, x) = ifelse(x == f.bound, one(x), zero(x))

# --- elementary functions --------------------------------------------------------------------------------------------

struct Sin <: UnaryFunction end
@inline value(::Sin, x) = real_sin(x)
@inline slope(::Sin, x, a) = real_cos(x)
@inline curvature(::Sin, x, a) = -a

struct Cos <: UnaryFunction end
@inline value(::Cos, x) = real_cos(x)
@inline slope(::Cos, x, a) = -real_sin(x)
@inline curvature(::Cos, x, a) = -a

struct Exp <: UnaryFunction end
@inline value(::Exp, x) = quick_exp(x)
@inline slope(::Exp, x, a) = a
@inline curvature(::Exp, x, a) = a

struct Log <: UnaryFunction end
@inline value(::Log, x) = real_log(x)
@inline slope(::Log, x, a) = inv(x)
@inline curvature(::Log, x, a) = -inv(x)^2

struct Sqrt <: UnaryFunction end
@inline value(::Sqrt, x) = real_sqrt(x)
@inline slope(::Sqrt, x, a) = inv(2 * a)
@inline curvature(::Sqrt, x, a) = -inv(4 * a * a * a)

struct Square <: UnaryFunction end
@inline value(::Square, x) = x * x
@inline slope(::Square, x, a) = 2 * x
@inline curvature(::Square, x, a) = oftype(x, 2)

struct Power{T} <: UnaryFunction
    p::T
end
@inline value(f::Power, x) = power(x, f.p)
@inline slope(f::Power, x, a) = iszero(f.p) ? zero(x) : f.p * power(x, f.p - 1)
@inline curvature(f::Power, x, a) = iszero(f.p) || isone(f.p) ? zero(x) : f.p * (f.p - 1) * power(x, f.p - 2)

struct Reciprocal <: UnaryFunction end
@inline value(::Reciprocal, x) = inv(x)
@inline slope(::Reciprocal, x, a) = -a * a
@inline curvature(::Reciprocal, x, a) = 2 * a * a * a

struct Erf <: UnaryFunction end
@inline value(::Erf, x) = erf(x)
@inline slope(::Erf, x, a) = oftype(x, 2 / sqrt(pi)) * exp(-x * x)
@inline curvature(f::Erf, x, a) = -2 * x * slope(f, x, a)

struct Expm1 <: UnaryFunction end
@inline value(::Expm1, x) = expm1(x)
@inline slope(::Expm1, x, a) = a + 1
@inline curvature(::Expm1, x, a) = a + 1

struct Log1p <: UnaryFunction end
@inline value(::Log1p, x) = real_log1p(x)
@inline slope(::Log1p, x, a) = inv(x + 1)
@inline curvature(::Log1p, x, a) = -inv(x + 1)^2

struct Atan <: UnaryFunction end
@inline value(::Atan, x) = atan(x)
@inline slope(::Atan, x, a) = inv(x * x + 1)
@inline curvature(::Atan, x, a) = -2 * x * inv(x * x + 1)^2

# --- by name and by number -------------------------------------------------------------------------------------------

"Functions of one number: their names in a tape, and how many numbers they take. A function's code is its place here."
const FUNCTIONS = [
    "tanh" => (Tanh, 0),
    "sigmoid" => (Sigmoid, 0),
    "softplus" => (Softplus, 2),
    "silu" => (Silu, 0),
    "gelu" => (GeluErf, 0),
    "gelu_tanh" => (Gelu, 0),
    "relu" => (Relu, 0),
    "leaky_relu" => (LeakyRelu, 1),
    "elu" => (Elu, 2),
    "mish" => (Mish, 0),
    "clamp" => (Clamp, 2),
    "sin" => (Sin, 0),
    "cos" => (Cos, 0),
    "exp" => (Exp, 0),
    "log" => (Log, 0),
    "sqrt" => (Sqrt, 0),
    "abs" => (Abs, 0),
    "square" => (Square, 0),
    "power" => (Power, 1),
    "reciprocal" => (Reciprocal, 0),
    "affine" => (Affine, 2),
    "erf" => (Erf, 0),
    "expm1" => (Expm1, 0),
    "log1p" => (Log1p, 0),
    "atan" => (Atan, 0),
    "sign" => (Sign, 0),
    "greater" => (Greater, 1),
    "at_least" => (AtLeast, 1),
    "equal" => (Equal, 1),
]

const FUNCTION_CODES = Dict(name => code for (code, (name, _)) in enumerate(FUNCTIONS))

"How many numbers the function with that code takes."
n_numbers(code::Int) = FUNCTIONS[code].second[2]

"A number of an operation beside values of type `T`: no wider than these, and no dual number, of which none is whole."
narrowed(::Type{T}, number) where {T <: AbstractFloat} = T(number)
narrowed(::Type, number) = number

"Returns `work(f)` for the function f whose code is `code`: a branch for each of [`FUNCTIONS`](@ref)."
macro return_for_code(work, code, p, q)
    branches = map(enumerate(FUNCTIONS)) do (k, (_, (make, n)))
        numbers = (esc(p), esc(q))[1:n]
        :($(esc(code)) == $k && return $(esc(work))($make($(numbers...))))
    end
    return Expr(:block, branches...)
end

"""
    with_function(work, code, p, q)

`work(f)` for the function f with that code and the numbers p and q. `work` is compiled for each function, so that a loop in
it knows its function.
"""
@inline function with_function(work::W, code::Int, p, q) where {W}
    @return_for_code(work, code, p, q)
    return nothing
end

# --- activations of the architectures --------------------------------------------------------------------------------

const ACTIVATIONS = Dict{String, UnaryFunction}(
    "tanh" => Tanh(),
    "softplus" => Softplus(),
    "sigmoid" => Sigmoid(),
    "silu" => Silu(),
    "gelu" => Gelu(),
)

"""
    activation(name)

The activation called `name`; throws [`InvalidArgument`](@ref) for a name that is not known.
"""
function activation(name::AbstractString)
    haskey(ACTIVATIONS, name) && return ACTIVATIONS[name]
    known = join(sort!(collect(keys(ACTIVATIONS))), ", ")
    throw(InvalidArgument("activation", name, "unknown", "use one of $known"))
end
