@isdefined(SMALL) || include("setup.jl")
using JSON

const FUNCTION_CASES = JSON.parsefile(joinpath(@__DIR__, "tapes", "functions.json"))

numbers_of(values) = [PyNODE.number_from_spec(x) for x in values]

"Like `≈`, where NaN and infinities are alike too."
alike(a, b; rtol) = isequal(a, b) || isapprox(a, b; rtol, atol = 1.0e-14)

@testset "$(row["name"]) $(row["numbers"]) is torch's" for row in FUNCTION_CASES["functions"]
    code, numbers = PyNODE.FUNCTION_CODES[row["name"]], numbers_of(row["numbers"])
    f = PyNODE.FUNCTIONS[code].second[1](numbers...)
    same = PyNODE.with_function(identity, code, (numbers..., 0.0, 0.0)[1:2]...)
    @test same === f
    wanted = map(numbers_of, (row["value"], row["slope"], row["curvature"]))
    for (i, x) in enumerate(FUNCTION_CASES["points"])
        a = PyNODE.value(f, x)
        @test alike(a, wanted[1][i]; rtol = 1.0e-14)
        @test alike(PyNODE.slope(f, x, a), wanted[2][i]; rtol = 1.0e-12)
        @test alike(PyNODE.curvature(f, x, a), wanted[3][i]; rtol = 1.0e-11)
    end
end

@testset "derivatives of $name" for (name, (kind, n)) in PyNODE.FUNCTIONS
    f = kind((0.2, 1.3)[1:n]...)
    for x in (0.35, 0.9, 1.7, 2.4), T in (Float64, Float32)
        g = kind(T.((0.2, 1.3)[1:n])...)
        a = PyNODE.value(g, T(x))
        @test a isa T && PyNODE.slope(g, T(x), a) isa T && PyNODE.curvature(g, T(x), a) isa T
        @test a ≈ PyNODE.value(f, x) rtol = 4 * eps(T)
        T === Float64 || continue
        by_ad(x) = ForwardDiff.derivative(x -> PyNODE.value(f, x), x)
        @test PyNODE.slope(f, x, a) ≈ by_ad(x) rtol = 1.0e-13 atol = 1.0e-15
        @test PyNODE.curvature(f, x, a) ≈ ForwardDiff.derivative(by_ad, x) rtol = 1.0e-12 atol = 1.0e-15
        PyNODE.has_curvature(kind) || @test iszero(PyNODE.curvature(f, x, a))
        PyNODE.has_slope(kind) || @test iszero(PyNODE.slope(f, x, a))
    end
end

@testset "clamp with crossed bounds is the upper one" begin
    clamp = PyNODE.Clamp(2.0, 1.0)
    for x in (0.5, 1.0, 1.5, 2.0, 3.0)
        @test PyNODE.value(clamp, x) == 1
        @test PyNODE.slope(clamp, x, 1.0) == 0
    end
end

@testset "exp, tanh, sigmoid and softplus of $T" for T in (Float64, Float32)
    ends = T === Float64 ? (-707.0, 709.7) : (-86.0, 88.7)
    points = T[range(ends...; length = 20_001); range(-1, 1; length = 10_001); 10.0.^range(-30, 0; length = 301)]
    ulps(x, exact) = abs(Float64(x) - Float64(exact)) / eps(T(exact))
    @test maximum(ulps(PyNODE.quick_exp(x), exp(big(x))) for x in points) < 2
    @test maximum(ulps(PyNODE.quick_tanh(x), tanh(big(x))) for x in points) < 4
    @test maximum(ulps(PyNODE.quick_softplus(x), log1p(exp(big(x)))) for x in points if x > -80) < 4
    @test maximum(abs(PyNODE.sigmoid(x) / inv(1 + exp(-big(x))) - 1) for x in points if x > ends[1]) < 8 * eps(T)
    for (x, e, h) in ((T(Inf), T(Inf), T(1)), (T(-Inf), T(0), T(-1)), (T(NaN), T(NaN), T(NaN)), (T(1000), T(Inf), T(1)))
        @test isequal(PyNODE.quick_exp(x), e)
        @test isequal(PyNODE.quick_tanh(x), h)
    end
    @test PyNODE.sigmoid(T(-1000)) == 0
    @test PyNODE.sigmoid(T(1000)) == 1
end
