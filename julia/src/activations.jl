# Activations with first and second derivatives; the formulas are those of pynode/activations.py.

"""
    Activation

A smooth scalar function. With `a = value(f, x)`: `slope(f, x, a)` is f'(x) and `curvature(f, x, a)` is f''(x).
"""
abstract type Activation end

sigmoid(x) = inv(one(x) + exp(-x))

struct Tanh <: Activation end
value(::Tanh, x) = tanh(x)
slope(::Tanh, x, a) = one(a) - a * a
curvature(::Tanh, x, a) = -2 * a * (one(a) - a * a)

"log(1 + e^x), written without overflow and without branches."
struct Softplus <: Activation end
value(::Softplus, x) = max(x, zero(x)) + log1p(exp(-abs(x)))
slope(::Softplus, x, a) = sigmoid(x)
function curvature(::Softplus, x, a)
    s = sigmoid(x)
    return s * (one(s) - s)
end

struct Sigmoid <: Activation end
value(::Sigmoid, x) = sigmoid(x)
slope(::Sigmoid, x, a) = a * (one(a) - a)
curvature(::Sigmoid, x, a) = a * (one(a) - a) * (one(a) - 2 * a)

"x sigmoid(x)."
struct Silu <: Activation end
value(::Silu, x) = x * sigmoid(x)
function slope(::Silu, x, a)
    s = sigmoid(x)
    return s + a * (one(s) - s)
end
function curvature(::Silu, x, a)
    s = sigmoid(x)
    ds = s * (one(s) - s)
    return ds * (2 + x * (one(s) - 2 * s))
end

"The tanh form, x/2 (1 + tanh(sqrt(2/pi) (x + 0.044715 x^3)))."
struct Gelu <: Activation end
gelu_scale(x) = oftype(x, sqrt(2 / pi))
gelu_cubic(x) = oftype(x, 0.044715)
gelu_inner(x) = tanh(gelu_scale(x) * (x + gelu_cubic(x) * x * x * x))
value(::Gelu, x) = x / 2 * (one(x) + gelu_inner(x))
function slope(::Gelu, x, a)
    T = gelu_inner(x)
    du = gelu_scale(x) * (one(x) + 3 * gelu_cubic(x) * x * x)
    return (one(x) + T) / 2 + x / 2 * (one(x) - T * T) * du
end
function curvature(::Gelu, x, a)
    T = gelu_inner(x)
    du = gelu_scale(x) * (one(x) + 3 * gelu_cubic(x) * x * x)
    ddu = 6 * gelu_scale(x) * gelu_cubic(x) * x
    return (one(x) - T * T) * (du + x / 2 * (ddu - 2 * T * du * du))
end

const ACTIVATIONS = Dict{String, Activation}(
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
