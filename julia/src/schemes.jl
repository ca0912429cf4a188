# Explicit Runge-Kutta schemes as Butcher tableaux; the numbers are those of pynode/schemes.

"""
    Scheme(name, order, A, b, c)

A Butcher tableau: row s of `A` holds s - 1 entries.
"""
struct Scheme
    name::String
    order::Int
    A::Vector{Vector{Float64}}
    b::Vector{Float64}
    c::Vector{Float64}
end

n_stages(scheme::Scheme) = length(scheme.b)

const SCHEMES = Dict(
    "euler" => Scheme("euler", 1, [Float64[]], [1.0], [0.0]),
    "midpoint" => Scheme("midpoint", 2, [Float64[], [1 / 2]], [0.0, 1.0], [0.0, 1 / 2]),
    "heun" => Scheme("heun", 2, [Float64[], [1.0]], [1 / 2, 1 / 2], [0.0, 1.0]),
    "rk4" => Scheme(
        "rk4",
        4,
        [Float64[], [1 / 2], [0.0, 1 / 2], [0.0, 0.0, 1.0]],
        [1 / 6, 1 / 3, 1 / 3, 1 / 6],
        [0.0, 1 / 2, 1 / 2, 1.0],
    ),
    "rk38" => Scheme(
        "rk38",
        4,
        [Float64[], [1 / 3], [-1 / 3, 1.0], [1.0, -1.0, 1.0]],
        [1 / 8, 3 / 8, 3 / 8, 1 / 8],
        [0.0, 1 / 3, 2 / 3, 1.0],
    ),
)

"""
    scheme(name)

The scheme called `name`; throws [`InvalidArgument`](@ref) for one that is not known.
"""
function scheme(name::AbstractString)
    haskey(SCHEMES, name) && return SCHEMES[name]
    known = join(sort!(collect(keys(SCHEMES))), ", ")
    throw(InvalidArgument("scheme", name, "unknown", "use one of $known"))
end
