@isdefined(SMALL) || include("setup.jl")
using PyNODE: VECTORS_PER_STEP, budget, bytes_per_step, steps_within, times_of_piece

function kept_and_gradient(system, theta, y0, ts, method)
    sol = solve_forward(system, theta, y0, ts, method)
    @test sol.report.status == "SUCCESS"
    back = pullback(sol, 2 .* (sol.ys .- 0.3); times = true)
    @test back.report.status == "SUCCESS"
    return sol, back
end

@testset "bytes of a step: $solver" for solver in sort!(collect(keys(PyNODE.SOLVERS)))
    # large enough that vectors outweigh what stands around them
    field = MLP([2, 4, 2], Tanh())
    system = System(field, 5_000)
    sol = solve_forward(system, theta_of(field), wave(10_000, 0.9, 0.2, 0.8), [0.0, 5.0], OptDisc(; solver)).sol
    vectors = length(sol.u) + sum(length, sol.k)
    @test vectors <= length(sol.u) * VECTORS_PER_STEP[solver]
    @test 2 * vectors >= (length(sol.u) - 1) * VECTORS_PER_STEP[solver]
    steps = length(sol.t)
    bytes = Base.summarysize(sol.u) + Base.summarysize(sol.k)
    @test bytes <= 1.01 * steps * bytes_per_step(system, solver)
end

@testset "a solution in pieces: $adjoint, $direction" for adjoint in (
        "gauss",
        "interpolating",
        "quadrature",
    ), direction in ("forwards", "backwards")

    field = ConcatSquash([3, 6, 3], Tanh())
    system, theta, y0 = System(field, 2), theta_of(field), state_of(field, 2)
    ts = direction == "forwards" ? [0.0, 0.4, 2.0, 5.0] : [5.0, 4.4, 2.0, 0.0]
    tight = (rtol = 1.0e-10, atol = 1.0e-12, adjoint = adjoint)
    whole, wanted = kept_and_gradient(system, theta, y0, ts, OptDisc(; tight...))
    @test length(whole.restarts) == 1
    for steps in (25, 50)
        memory = steps * bytes_per_step(system, "tsit5") * (adjoint == "quadrature" ? 5 : 2)
        sol, back = kept_and_gradient(system, theta, y0, ts, OptDisc(; tight..., memory))
        @test length(sol.restarts) > (steps == 25 ? 2 : 1)
        @test length(sol.sol.t) <= steps + 1
        @test relative(sol.ys, whole.ys) < 1.0e-8
        @test relative(back.by_y0, wanted.by_y0) < 1.0e-8
        @test relative(back.by_theta, wanted.by_theta) < 1.0e-8
        @test relative(back.by_ts, wanted.by_ts) < 1.0e-7
        @test back.report.work.n_f > 0 # pieces were solved anew
    end
end

@testset "times of a piece" begin
    ts = [0.0, 1.0, 2.0, 3.0]
    @test times_of_piece(ts, 0.0, 3.0, true) == (ts, [1, 2, 3, 4])
    @test times_of_piece(ts, 0.0, 1.5, true) == ([0.0, 1.0, 1.5], [1, 2, 0])
    @test times_of_piece(ts, 1.5, 1.7, false) == ([1.5, 1.7], [0, 0])
    @test times_of_piece(ts, 1.5, 2.0, false) == ([1.5, 2.0], [0, 3])
    @test times_of_piece(ts, 2.0, 3.0, false) == ([2.0, 3.0], [0, 4])
    @test times_of_piece(reverse(ts), 2.5, 1.0, false) == ([2.5, 2.0, 1.0], [0, 2, 3])
end

@testset "steps are counted over all pieces" begin
    field = MLP([2, 50, 2], Tanh(); input_power = 3)
    system, theta = System(field, 1), wave(252, 1.7, 0.3, 0.25)
    memory = 60 * bytes_per_step(system, "tsit5")
    tight = (rtol = 1.0e-10, atol = 1.0e-12)
    short = solve_forward(system, theta, [2.0, 0.0], [0.0, 20.0], OptDisc(; tight..., memory, max_steps = 100))
    @test short.report.status == "MAX_STEPS"
    @test all(isnan, short.ys)
    @test 80 <= short.report.n_accepted + short.report.n_rejected <= 102
end

@testset "what does not fit is refused before it is tried" begin
    field = MLP([2, 8, 2], Tanh())
    system, theta, y0 = System(field, 1000), theta_of(field), zeros(2000)
    for options in (
            (memory = 1000,),
            (memory = 100_000, solver = "auto"),
            (memory = 50_000_000, solver = "auto", vjp = "zygote"),
        )
        refused = try
            solve_forward(system, theta, y0, [0.0, 1.0], OptDisc(; options...))
        catch error
            error
        end
        @test refused isa PyNODE.InvalidArgument
        @test occursin("budget", sprint(showerror, refused))
        @test occursin("GB", sprint(showerror, refused))
    end
    dense = OptDisc(; solver = "auto", vjp = "zygote")
    @test_throws r"vjp = zygote: .*2002 entries" solve_forward(
        System(field, 1001),
        theta,
        zeros(2002),
        [0.0, 1.0],
        dense,
    )
    @test_throws PyNODE.InvalidArgument OptDisc(; memory = 0)
    asked = Dict{String, Any}("kind" => "opt-disc", "memory" => 4.0e9)
    @test PyNODE.method_from_options(asked).memory == 4_000_000_000
    @test PyNODE.method_from_options(merge(asked, Dict("memory" => nothing))).memory === nothing
    @test 0 < budget(OptDisc()) < Sys.total_memory()
    thin = solve_forward(system, theta, y0, [0.0, 1.0], OptDisc(; memory = 1000); gradient = false)
    @test thin.report.status == "SUCCESS"
end

@testset "a quadrature whose adjoint outgrows the budget says so" begin
    field = ConcatSquash([3, 6, 3], Tanh())
    system, theta, y0 = System(field, 1), theta_of(field), state_of(field, 1)
    loose = (adjoint = "quadrature", rtol = 1.0e-3, atol = 1.0e-4, adjoint_rtol = 1.0e-12, adjoint_atol = 1.0e-13)
    memory = 20 * 5 * bytes_per_step(system, "tsit5")
    sol = solve_forward(system, theta, y0, [0.0, 5.0], OptDisc(; loose..., memory))
    @test length(sol.restarts) == 1
    @test_throws PyNODE.InvalidArgument pullback(sol, sol.ys)
end

@testset "a backsolve keeps the states at output times" begin
    field = ConcatSquash([3, 6, 3], Tanh())
    system, theta, y0 = System(field, 100), theta_of(field), state_of(field, 100)
    for ts in ([0.0, 0.4, 1.0], [1.0, 0.4, 0.0]), checkpointing in (true, false)
        tight = (rtol = 1.0e-10, atol = 1.0e-12)
        sol, back = kept_and_gradient(system, theta, y0, ts, OptDisc(; adjoint = "backsolve", checkpointing, tight...))
        dense, wanted = kept_and_gradient(system, theta, y0, ts, OptDisc(; tight...))
        @test length(sol.sol.u) == length(ts)
        @test length(sol.sol.k) <= 1 # of the start
        @test 10 * Base.summarysize(sol.sol.u) < Base.summarysize(dense.sol.u) + Base.summarysize(dense.sol.k)
        @test relative(back.by_y0, wanted.by_y0) < 1.0e-7
        @test relative(back.by_theta, wanted.by_theta) < 1.0e-7
    end
end
