@isdefined(SMALL) || include("setup.jl")

@testset "activations" begin
    for act in values(PyNODE.ACTIVATIONS), x in (-30.0, -2.0, -0.3, 0.4, 1.7, 30.0)
        a = PyNODE.value(act, x)
        first_by_ad(x) = ForwardDiff.derivative(x -> PyNODE.value(act, x), x)
        @test PyNODE.slope(act, x, a) ≈ first_by_ad(x) atol = 1.0e-14
        @test PyNODE.curvature(act, x, a) ≈ ForwardDiff.derivative(first_by_ad, x) atol = 1.0e-13
    end
    @test_throws PyNODE.InvalidArgument PyNODE.activation("nosuch")
end

@testset "products of $name" for (name, field) in SMALL
    batch, t = 3, 0.37
    theta = theta_of(field)
    for system in systems_of(field, batch)
        n = state_length(system)
        y, v = wave(n, 0.9, 0.2, 0.8), wave(n, 2.1, 0.3, 1.0)
        by_formula = slope_of(system, y, theta, t)
        dy = zeros(n)
        system(dy, y, theta, t)
        @test dy ≈ by_formula rtol = 1.0e-13
        J = ForwardDiff.jacobian(y -> slope_of(system, y, theta, t), y)
        by_state, by_theta = zeros(n), zeros(length(theta))
        vjp!(by_state, v, system, y, theta, t)
        @test by_state ≈ J' * v rtol = 1.0e-11 atol = 1.0e-13
        Jp = ForwardDiff.jacobian(theta -> slope_of(system, y, theta, t), theta)
        vjp_theta!(by_theta, v, system, y, theta, t)
        @test by_theta ≈ Jp' * v rtol = 1.0e-11 atol = 1.0e-13
        both_state, both_theta = zeros(n), copy(by_theta)
        PyNODE.vjp_both!(both_state, both_theta, v, system, y, theta, t)
        @test both_state ≈ by_state
        @test both_theta ≈ 2 .* by_theta
        # another point, so that nothing is left over from this one
        vjp!(by_state, v, system, 0.5 .* y, theta, 2t)
        J = ForwardDiff.jacobian(y -> slope_of(system, y, theta, 2t), 0.5 .* y)
        @test by_state ≈ J' * v rtol = 1.0e-11 atol = 1.0e-13
    end
end

@testset "exact divergence of $name" for (name, field) in SMALL
    batch, t = 2, 0.6
    theta, dim = theta_of(field), state_dim(field)
    system = System(field, batch; flow = FlowState("exact"; jacobian = true))
    y = wave(state_length(system), 0.9, 0.2, 0.8)
    dy = zeros(length(y))
    system(dy, y, theta, t)
    for b in 1:batch
        z = reshape(y, :, batch)[1:dim, b]
        J = ForwardDiff.jacobian(z -> vec(evaluate(field, theta, t, reshape(z, dim, 1))), z)
        @test reshape(dy, :, batch)[dim + 1, b] ≈ -tr(J) atol = 1.0e-12
        @test reshape(dy, :, batch)[dim + 2, b] ≈ sum(abs2, J) atol = 1.0e-12
    end
end

@testset "calls allocate next to nothing" begin
    field = MLP([2, 50, 2], Tanh(); input_power = 3)
    system, theta = System(field, 1), theta_of(field)
    y, dy, Jv, by_theta = [2.0, 0.1], zeros(2), zeros(2), zeros(length(theta))
    work(y) = (
        system(dy, y, theta, 0.1);
        vjp!(Jv, y, system, y, theta, 0.1);
        vjp_theta!(by_theta, y, system, y, theta, 0.1)
    )
    work(y)
    y .= [1.0, 0.3]
    @test (@allocated work(y)) < 1000
end

@testset "float32" begin
    for (_, field) in SMALL
        system = System(field, 2; flow = FlowState("exact"), T = Float32)
        theta = Float32.(theta_of(field))
        y = Float32.(wave(state_length(system), 0.9, 0.2, 0.8))
        dy = zero(y)
        system(dy, y, theta, 0.3)
        exact = slope_of(System(field, 2; flow = FlowState("exact")), Float64.(y), Float64.(theta), 0.3)
        @test dy ≈ exact rtol = 1.0e-4
    end
end

@testset "specifications" begin
    spec = Dict("architecture" => "mlp", "widths" => [2, 5, 2], "activation" => "tanh", "input_power" => 3)
    @test n_params(PyNODE.field_from_spec(spec)) == 27
    @test_throws PyNODE.InvalidArgument PyNODE.field_from_spec(Dict("architecture" => "nosuch"))
    @test_throws PyNODE.InvalidArgument System(MLP([2, 2], Tanh()), 3; flow = FlowState("hutchinson"))
    @test_throws PyNODE.InvalidArgument FlowState("nosuch")
end
