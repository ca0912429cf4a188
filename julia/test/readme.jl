@isdefined(SMALL) || include("setup.jl")

module OnThePage
    include("own_model.jl")
end

@testset "the model of the README" begin
    field, theta = OnThePage.field, OnThePage.theta
    x, y = 1.3, 0.7
    a, b, c, d = theta
    @test evaluate(field, theta, 0.0, [x; y;;]) ≈ [a * x - b * x * y; d * x * y - c * y;;]
    check = OptDisc(; rtol = 1.0e-12, atol = 1.0e-12)
    wanted = forwarddiff_gradient(OnThePage.system, theta, OnThePage.y0, OnThePage.ts, ys -> sum(abs2, ys), check)
    @test OnThePage.gradient.by_theta ≈ wanted.by_theta rtol = 1.0e-5
    @test OnThePage.gradient.by_y0 ≈ wanted.by_y0 rtol = 1.0e-5
end
