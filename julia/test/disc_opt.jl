@isdefined(SMALL) || include("setup.jl")

@testset "discrete adjoint of $(scheme_name), $name" for scheme_name in sort!(collect(keys(PyNODE.SCHEMES))), (
        name,
        field,
    ) in SMALL

    system = last(systems_of(field, 2))
    theta, y0 = theta_of(field), wave(state_length(system), 0.9, 0.2, 0.5)
    loss(ys) = sum(abs2, ys .- 0.3)
    for ts in ([0.0, 0.3, 1.0], [1.0, 0.4, 0.0])
        method = DiscOpt(scheme(scheme_name); substeps = [2, 3])
        sol = solve_forward(system, theta, y0, ts, method)
        @test sol.report.status == "SUCCESS"
        @test sol.ys ≈ PyNODE.states(system, theta, y0, ts, method) rtol = 1.0e-13
        gradient = pullback(sol, 2 .* (sol.ys .- 0.3))
        wanted = forwarddiff_gradient(system, theta, y0, ts, loss, method)
        @test relative(gradient.by_y0, wanted.by_y0) < 1.0e-11
        @test relative(gradient.by_theta, wanted.by_theta) < 1.0e-11
        @test sol.report.work.n_f == 5 * PyNODE.n_stages(method.scheme)
        @test gradient.report.work.n_vjp == 5 * PyNODE.n_stages(method.scheme)
    end
end

@testset "gradient by output times of $(name)" for (name, field) in SMALL
    system, theta, y0 = System(field, 1), theta_of(field), state_of(field, 1)
    ts = [0.1, 0.5, 1.1]
    loss(ys) = sum(abs2, ys .- 0.3)
    for method in (DiscOpt(scheme("rk4"); substeps = [1, 3]), OptDisc(; rtol = 1.0e-11, atol = 1.0e-13))
        sol = solve_forward(system, theta, y0, ts, method)
        gradient = pullback(sol, 2 .* (sol.ys .- 0.3); times = true)
        at(i, h) = (moved = copy(ts); moved[i] += h; loss(solve_forward(system, theta, y0, moved, method).ys))
        wanted = [(at(i, 1.0e-5) - at(i, -1.0e-5)) / 2.0e-5 for i in 1:3]
        @test relative(gradient.by_ts, wanted) < 1.0e-6
    end
end

@testset "order of $(scheme_name)" for (scheme_name, tableau) in PyNODE.SCHEMES
    field = ConcatSquash([3, 6, 3], Tanh())
    system, theta, y0 = System(field, 1), theta_of(field), state_of(field, 1)
    exact = solve_forward(system, theta, y0, [0.0, 1.0], OptDisc(; solver = "vern9", rtol = 1.0e-13, atol = 1.0e-13))
    errors = [
        norm(solve_forward(system, theta, y0, [0.0, 1.0], DiscOpt(tableau; substeps = n)).ys[:, 2] .- exact.ys[:, 2])
        for n in (16, 32)
    ]
    @test log2(errors[1] / errors[2]) ≈ tableau.order atol = 0.2
end

@testset "what can't be asked for" begin
    field = MLP([2, 4, 2], Tanh())
    system, theta, y0 = System(field, 1), theta_of(field), state_of(field, 1)
    rk4 = DiscOpt(scheme("rk4"))
    @test_throws PyNODE.InvalidArgument scheme("nosuch")
    @test_throws PyNODE.InvalidArgument solve_forward(system, theta, y0, [0.0], rk4)
    @test_throws PyNODE.InvalidArgument solve_forward(system, theta, y0, [0.0, 1.0, 0.5], rk4)
    @test_throws PyNODE.InvalidArgument solve_forward(system, theta[1:(end - 1)], y0, [0.0, 1.0], rk4)
    @test_throws PyNODE.InvalidArgument solve_forward(system, theta, y0, [0.0, 1.0], DiscOpt(scheme("rk4"), [1, 1]))
    thin = solve_forward(system, theta, y0, [0.0, 1.0], rk4; gradient = false)
    @test_throws PyNODE.InvalidArgument pullback(thin, zero(thin.ys))
    @test_throws r"y0 = length 3: wrong length" solve_forward(system, theta, zeros(3), [0.0, 1.0], rk4)
    whole = solve_forward(system, theta, y0, [0.0, 1.0], rk4)
    for cotangents in (zeros(2, 3), zeros(3, 2), zeros(4))
        @test_throws r"cotangents = size .*: wrong size; .*\(2, 2\)" pullback(whole, cotangents)
    end
    system.cancel[1] = 0x01
    @test_throws PyNODE.Cancelled solve_forward(system, theta, y0, [0.0, 1.0], rk4)
end
