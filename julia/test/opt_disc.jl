@isdefined(SMALL) || include("setup.jl")
# fatou-ignore unused-import: as others do
using PyNODE: STATE, TIME, TapeWriter, operation!, parameter!

loss(ys) = sum(abs2, ys .- 0.3)

"Error of the gradients of `loss`, the worse of theta and y0, relative to ForwardDiff through Vern9."
function gradient_error(system, theta, y0, ts, method, wanted)
    sol = solve_forward(system, theta, y0, ts, method)
    @test sol.report.status == "SUCCESS"
    gradient = pullback(sol, 2 .* (sol.ys .- 0.3))
    @test gradient.report.status == "SUCCESS"
    @test gradient.report.n_accepted > 0
    return max(relative(gradient.by_y0, wanted.by_y0), relative(gradient.by_theta, wanted.by_theta))
end

truth(system, theta, y0, ts) = forwarddiff_gradient(
    system,
    theta,
    y0,
    ts,
    loss,
    OptDisc(; solver = "vern9", rtol = 1.0e-12, atol = 1.0e-12),
)

@testset "$adjoint adjoint of $name" for adjoint in PyNODE.ADJOINTS, (name, field) in ONE_OF_EACH
    system = System(field, 2)
    theta, y0 = theta_of(field), state_of(field, 2)
    for ts in ([0.0, 0.3, 1.0], [1.0, 0.4, 0.0])
        wanted = truth(system, theta, y0, ts)
        @test gradient_error(system, theta, y0, ts, OptDisc(; adjoint, rtol = 1.0e-9, atol = 1.0e-11), wanted) < 1.0e-6
    end
end

@testset "$adjoint adjoint of flows" for adjoint in PyNODE.ADJOINTS
    field = ConcatSquash([2, 8, 8, 2], Tanh())
    for system in systems_of(field, 2)
        theta, y0, ts = theta_of(field), wave(state_length(system), 0.9, 0.2, 0.5), [0.0, 0.5]
        wanted = truth(system, theta, y0, ts)
        @test gradient_error(system, theta, y0, ts, OptDisc(; adjoint, rtol = 1.0e-9, atol = 1.0e-11), wanted) < 1.0e-6
    end
end

@testset "solvers, tolerances, checkpointing" begin
    field = ConcatSquash([3, 6, 3], Tanh())
    system, theta, y0, ts = System(field, 2), theta_of(field), state_of(field, 2), [0.0, 0.4, 1.0]
    wanted = truth(system, theta, y0, ts)
    for solver in sort!(collect(keys(PyNODE.SOLVERS))), adjoint in PyNODE.ADJOINTS
        solver == "auto" && adjoint == "backsolve" && continue
        method = OptDisc(; solver, adjoint, rtol = 1.0e-9, atol = 1.0e-11)
        @test gradient_error(system, theta, y0, ts, method, wanted) < 1.0e-6
    end
    free = OptDisc(; adjoint = "backsolve", checkpointing = false, rtol = 1.0e-9, atol = 1.0e-11)
    @test gradient_error(system, theta, y0, ts, free, wanted) < 1.0e-6
    errors = [
        gradient_error(system, theta, y0, ts, OptDisc(; rtol = tol, atol = tol / 100), wanted)
        for tol in (1.0e-3, 1.0e-8)
    ]
    @test errors[2] < 1.0e-3 * errors[1]
    loose = OptDisc(; rtol = 1.0e-10, atol = 1.0e-12, adjoint_rtol = 1.0e-2, adjoint_atol = 1.0e-3)
    tight = OptDisc(; rtol = 1.0e-10, atol = 1.0e-12)
    steps(method) = (sol = solve_forward(system, theta, y0, ts, method); pullback(sol, sol.ys).report.n_accepted)
    @test steps(loose) < steps(tight)
end

"dy/dt = -a y + b from t = 0.37 on, before that -a y."
function jump()
    w = TapeWriter("jump", 1)
    a, b = parameter!(w, "a", 1), parameter!(w, "b", 1)
    on = operation!(w, "greater", [TIME], 1; numbers = [0.37])
    decay, push = operation!(w, "multiply", [a, STATE], 1), operation!(w, "multiply", [b, on], 1)
    return Tape(w, operation!(w, "add", [decay, push], 1; numbers = [-1, 1]))
end

@testset "a field that jumps in time: $adjoint" for adjoint in PyNODE.ADJOINTS
    system, theta = System(jump(), 2), [0.7, 1.3]
    for ts in ([0.0, 1.0], [0.0, 0.2, 0.8, 1.0], [1.0, 0.0])
        wanted = truth(system, theta, [1.0, -0.5], ts)
        method = OptDisc(; adjoint, rtol = 1.0e-8, atol = 1.0e-10)
        # a jump that is stepped over costs 1e-3 and more; over one that is seen, the tolerances leave some hundred rtol
        @test gradient_error(system, theta, [1.0, -0.5], ts, method, wanted) < 1.0e-5
    end
end

@testset "steps that are much shorter than others" begin
    short = PyNODE.stops_of_short_steps
    @test isempty(short([0.0, 1.0]))
    @test isempty(short([0.0, 0.1, 0.2, 0.4, 0.8]))
    @test short([0.0, 0.1, 0.2, 0.201, 0.2011, 0.3, 0.4, 0.5]) == [0.2, 0.201, 0.2011]
    @test short([0.5, 0.4, 0.3, 0.299, 0.2, 0.1]) == [0.299, 0.3]
end

@testset "products by $vjp" for vjp in ("reversediff", "zygote")
    field = ConcatSquash([3, 6, 3], Tanh())
    for system in (System(field, 2), System(field, 2; flow = FlowState("exact")))
        theta, y0, ts = theta_of(field), wave(state_length(system), 0.9, 0.2, 0.5), [0.0, 0.4, 1.0]
        by_hand, by_ad = map(("handwritten", vjp)) do which
            sol = solve_forward(system, theta, y0, ts, OptDisc(; vjp = which, rtol = 1.0e-9, atol = 1.0e-11))
            pullback(sol, 2 .* (sol.ys .- 0.3))
        end
        @test relative(by_hand.by_y0, by_ad.by_y0) < 1.0e-8
        @test relative(by_hand.by_theta, by_ad.by_theta) < 1.0e-8
    end
end

@testset "AD of the solver" begin
    field = MLP([2, 6, 2], Tanh())
    system, theta, y0, ts = System(field, 1), theta_of(field), state_of(field, 1), [0.0, 0.4, 1.0]
    wanted = truth(system, theta, y0, ts)
    gradient = reversediff_gradient(system, theta, y0, ts, loss, OptDisc(; rtol = 1.0e-10, atol = 1.0e-12))
    @test relative(gradient.by_theta, wanted.by_theta) < 1.0e-7
    @test relative(gradient.by_y0, wanted.by_y0) < 1.0e-7
end

@testset "counts" begin
    field = MLP([2, 50, 2], Tanh(); input_power = 3)
    system, theta, ts = System(field, 1), wave(n_params(field), 1.7, 0.3, 0.25), collect(range(0, 1.5; length = 30))
    sol = solve_forward(system, theta, [2.0, 0.0], ts, OptDisc())
    @test sol.report.work.n_f == sol.sol.stats.nf
    @test sol.report.work.n_vjp == 0
    for adjoint in PyNODE.ADJOINTS
        sol = solve_forward(system, theta, [2.0, 0.0], ts, OptDisc(; adjoint))
        work = pullback(sol, sol.ys).report.work
        @test work.n_vjp <= work.by_state + work.by_theta
        @test (work.n_f > 0) == (adjoint == "backsolve")
    end
end

@testset "drift of the backsolve" begin
    field = MLP([2, 2], Tanh()) # y' = W y, whose first component decays like exp(-k t)
    system, y0 = System(field, 2), [1.0, 0.5, 0.2, 0.1]
    function drift(k, adjoint, ts; options...)
        theta = [-k, 0.0, k, -1.0, 0.0, 0.0]
        sol = solve_forward(system, theta, y0, ts, OptDisc(; adjoint, options...))
        return pullback(sol, hcat(zeros(4, length(ts) - 1), 2 .* sol.ys[:, end])).report.drift
    end
    @test drift(1.0, "backsolve", [0.0, 1.0]).value < 100
    @test drift(1.0, "backsolve", [0.0, 0.3, 1.0]).value < 100
    for k in (20.0, 30.0)
        lost = drift(k, "backsolve", [0.0, 1.0])
        @test lost.value > 1.0e4
        @test lost.t == 0.0
        @test lost.sample in (1, 2)
        @test isnan(drift(k, "gauss", [0.0, 1.0]).value)
    end
end

@testset "failures have names" begin
    field = MLP([2, 2], Tanh(); input_power = 3) # dy/dt = y^3 blows up at a finite time
    system, theta = System(field, 1), [1.0, 0.0, 0.0, 1.0, 0.0, 0.0]
    sol = solve_forward(system, theta, [1.0, 1.0], [0.0, 2.0], OptDisc())
    @test sol.report.status in ("STEP_UNDERFLOW", "NON_FINITE", "MAX_STEPS")
    @test 0.4 < sol.report.t < 0.6
    @test all(isnan, sol.ys)
    few = solve_forward(system, theta, [0.1, 0.1], [0.0, 2.0], OptDisc(; max_steps = 3, rtol = 1.0e-12, atol = 1.0e-12))
    @test few.report.status == "MAX_STEPS"
    # a forward solve that needs few steps, and an adjoint that may not take as many as it needs
    calm = System(MLP([2, 50, 2], Tanh(); input_power = 3), 1)
    for adjoint in PyNODE.ADJOINTS
        short = OptDisc(;
            adjoint,
            rtol = 1.0e-1,
            atol = 1.0e-2,
            adjoint_rtol = 1.0e-13,
            adjoint_atol = 1.0e-13,
            max_steps = 30,
        )
        sol = solve_forward(calm, wave(252, 1.7, 0.3, 0.25), [2.0, 0.0], [0.0, 0.7, 1.5], short)
        @test sol.report.status == "SUCCESS"
        @test pullback(sol, sol.ys).report.status == "MAX_STEPS"
    end
    thin = solve_forward(system, theta, [0.1, 0.1], [0.0, 1.0], OptDisc(); gradient = false)
    @test thin.report.status == "SUCCESS"
    @test_throws PyNODE.InvalidArgument pullback(thin, zero(thin.ys))
    whole = solve_forward(system, theta, [0.1, 0.1], [0.0, 1.0], OptDisc())
    @test_throws r"cotangents = size \(2, 3\): wrong size; .*\(2, 2\)" pullback(whole, zeros(2, 3))
    @test_throws r"y0 = length 3: wrong length" solve_forward(system, theta, zeros(3), [0.0, 1.0], OptDisc())
    system.cancel[1] = 0x01
    @test_throws PyNODE.Cancelled solve_forward(system, theta, [0.1, 0.1], [0.0, 1.0], OptDisc())
    @test_throws PyNODE.InvalidArgument OptDisc(; adjoint = "nosuch")
    @test_throws PyNODE.InvalidArgument OptDisc(; rtol = -1.0)
end
