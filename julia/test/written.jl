@isdefined(SMALL) || include("setup.jl")
using JSON

# Modules of the zoo that Python has written as tapes (tests/tapes/write_julia_tapes.py), with what torch computes of them.

const WRITTEN = [name for name in readdir(joinpath(@__DIR__, "tapes")) if name != "functions.json"]

"Nested lists as an array, their innermost index first."
nested(x::Real) = Float64(x)
nested(x::AbstractString) = parse(Float64, x)
nested(x::AbstractVector) = isempty(x) ? Float64[] : x[1] isa AbstractVector ? stack(nested.(x)) : Float64.(nested.(x))

@testset "$name as torch computes it" for name in WRITTEN
    data = JSON.parsefile(joinpath(@__DIR__, "tapes", name))
    tape = PyNODE.field_from_spec(data["field"])
    theta, t, Y = nested(data["theta"]), Float64(data["t"]), nested(data["y"])
    dim, batch = size(Y)
    columns(key) = reshape(nested(data[key]), dim, :)
    V = columns("v")
    buf = PyNODE.buffers(tape, Float64, batch, size(V, 2) ÷ batch)
    PyNODE.forward!(buf, tape, theta, t, Y, V)
    @test buf.value ≈ columns("value") rtol = 1.0e-13
    @test buf.pushed ≈ columns("pushed") rtol = 1.0e-12
    plain = PyNODE.tangents(tape, theta, t, Y, V)
    @test plain[1] ≈ buf.value rtol = 1.0e-13
    @test plain[2] ≈ buf.pushed rtol = 1.0e-12
    Ybar, theta_bar = fill(NaN, dim, batch), zeros(length(theta))
    PyNODE.backward!(Ybar, theta_bar, buf, tape, theta, t, Y, V, columns("value_bar"), columns("pushed_bar"))
    @test Ybar ≈ columns("by_y") rtol = 1.0e-11
    @test theta_bar ≈ nested(data["by_theta"]) rtol = 1.0e-11
    @test PyNODE.name(tape) == "tape"
end

@testset "tapes that can't be read" begin
    data = JSON.parsefile(joinpath(@__DIR__, "tapes", first(WRITTEN)))["field"]
    refused(changes...) = @test_throws PyNODE.InvalidArgument PyNODE.field_from_spec(merge(
        Dict(data),
        Dict(changes...),
    ))
    refused("preparation" => [Dict("target" => "aten.t.default")])
    refused("operations" => nothing)
    refused("operations" => [Dict("name" => "tanh")])
    refused("constants" => [Dict("value" => 99, "shape" => [1], "transposed" => false)])
    refused("output" => 10_000)
    refused("dim" => "two")
    @test_throws PyNODE.InvalidArgument PyNODE.field_from_spec(delete!(Dict(data), "dim"))
end
