@isdefined(SMALL) || include("setup.jl")
using PyNODE: SampleBlocks, SampleJacobian, blocks!, factorize!, intervals, prototype

"df/dy by ForwardDiff of the plain formulas, dense."
dense_jacobian(system, theta, y, t) = ForwardDiff.jacobian(u -> slope_of(system, u, theta, t), y)

"y' = W y on pairs: the first entry decays at `rate` towards the second, which decays at rate 1."
decay(rate) = (MLP([2, 2], Tanh()), [-rate, rate, 0.0, -1.0, 0.0, 0.0])

loss_of(ys) = sum(abs2, ys .- 0.3)

function gradient_of(system, theta, y0, ts, method)
    sol = solve_forward(system, theta, y0, ts, method)
    @test sol.report.status == "SUCCESS"
    back = pullback(sol, 2 .* (sol.ys .- 0.3))
    @test back.report.status == "SUCCESS"
    return sol, back
end

@testset "blocks of the Jacobian: $name" for (name, field) in SMALL
    for system in systems_of(field, 3), t in (0.0, 0.7)
        theta, y = theta_of(field), wave(state_length(system), 0.9, 0.2, 0.5)
        J = prototype(system)
        @test isempty(J.blocks) # nothing is taken before it is needed
        @test J[1, 1] == 0
        SampleJacobian(system)(J, y, theta, t)
        @test Matrix(J) ≈ dense_jacobian(system, theta, y, t) rtol = 1.0e-12 atol = 1.0e-14
        @test opnorm(J, Inf) ≈ opnorm(Matrix(J), Inf)
        @test Matrix(copy(J')) == Matrix(J)'
    end
end

@testset "linear systems of blocks of $n" for n in (1, 2, 5, 30)
    A = SampleBlocks{Float64}(n, 4)
    blocks!(A) .= reshape(wave(4 * n * n, 1.1, 0.3, 1.0), n, n, 4)
    for b in 1:4, i in 1:n
        A[(b - 1) * n + i, (b - 1) * n + i] += (-1)^i * 0.01 # small pivots, so rows must be exchanged
    end
    dense, b = Matrix(A), wave(4 * n, 0.7, 0.1, 1.0)
    x = zeros(4 * n)
    @test ldiv!(x, factorize!(copy(A)), b) ≈ dense \ b rtol = 1.0e-9
    n > 1 && @test_throws ArgumentError A[1, n + 1] = 1.0
    @test size(lmul!(-1, copy(A))) == (4 * n, 4 * n)
    @test Matrix(lmul!(-1, copy(A))) == -dense
end

@testset "a block of $n that is not finite spoils no other" for n in (5, 30)
    A = SampleBlocks{Float64}(n, 3)
    for b in 1:3, i in 1:n
        blocks!(A)[i, i, b] = 2.0
    end
    A.blocks[2, 1, 2] = NaN
    X = reshape(ldiv!(zeros(3 * n), factorize!(A), ones(3 * n)), n, 3)
    @test all(==(0.5), X[:, [1, 3]])
    @test any(isnan, X[:, 2])
end

@testset "intervals between steps" begin
    steps = [0.0, 0.1, 0.4, 1.0]
    @test collect(intervals(steps, 0.5, 0.05)) == [(0.5, 0.4), (0.4, 0.1), (0.1, 0.05)]
    @test collect(intervals(steps, 0.4, 0.1)) == [(0.4, 0.1)]
    @test collect(intervals(steps, 1.0, 0.7)) == [(1.0, 0.7)]
    @test collect(intervals(reverse(steps), 0.05, 0.5)) == [(0.05, 0.1), (0.1, 0.4), (0.4, 0.5)]
end

@testset "stiff batch against its samples: $adjoint" for adjoint in ("gauss", "quadrature", "interpolating")
    method = OptDisc(; solver = "auto", adjoint, rtol = 1.0e-8, atol = 1.0e-10)
    field, theta = decay(1.0e4)
    y0, ts = wave(6, 0.9, 0.2, 0.8), [0.0, 0.3, 1.0]
    together, back = gradient_of(System(field, 3), theta, y0, ts, method)
    @test 2 in together.sol.alg_choice # it did turn stiff
    alone = [gradient_of(System(field, 1), theta, y0[(2b - 1):(2b)], ts, method) for b in 1:3]
    @test relative(back.by_y0, reduce(vcat, [a[2].by_y0 for a in alone])) < 1.0e-6
    @test relative(back.by_theta, sum(a[2].by_theta for a in alone)) < 1.0e-6
    wanted = forwarddiff_gradient(
        System(field, 3),
        theta,
        y0,
        ts,
        loss_of,
        OptDisc(; solver = "auto", rtol = 1.0e-12, atol = 1.0e-13),
    )
    # the layers of the state and of the adjoint, of width 1e-4, are not passed over
    @test relative(back.by_y0, wanted.by_y0) < 1.0e-8
    @test relative(back.by_theta, wanted.by_theta) < 2.0e-8
end

# a power of the state, of which the stiff solver takes dual numbers
@testset "stiff cubic field: $adjoint" for adjoint in ("gauss", "interpolating")
    field, theta = MLP([2, 2], Tanh(); input_power = 3), [-1.0e4, 1.0e4, 0.0, -1.0, 0.0, 0.0]
    system, y0, ts = System(field, 2), [1.2, 0.8, 0.9, 1.1], [0.0, 0.3, 1.0]
    method = OptDisc(; solver = "auto", adjoint, rtol = 1.0e-8, atol = 1.0e-10)
    solution, back = gradient_of(system, theta, y0, ts, method)
    @test 2 in solution.sol.alg_choice
    exact = OptDisc(; solver = "auto", rtol = 1.0e-12, atol = 1.0e-13)
    wanted = forwarddiff_gradient(system, theta, y0, ts, loss_of, exact)
    @test relative(back.by_y0, wanted.by_y0) < 2.0e-8
    @test relative(back.by_theta, wanted.by_theta) < 2.0e-8
end

@testset "stiff flows and reversed time" begin
    field = ConcatSquash([2, 6, 2], Tanh())
    theta, ts = 8 .* theta_of(field), [0.5, 0.2, 0.0]
    for system in systems_of(field, 2), adjoint in ("gauss", "interpolating")
        y0 = wave(state_length(system), 0.9, 0.2, 0.5)
        stiff, plain = map(("auto", "vern9")) do solver
            gradient_of(system, theta, y0, ts, OptDisc(; solver, adjoint, rtol = 1.0e-9, atol = 1.0e-11))[2]
        end
        @test relative(stiff.by_y0, plain.by_y0) < 1.0e-6
        @test relative(stiff.by_theta, plain.by_theta) < 1.0e-6
    end
end

@testset "memory of a stiff gradient is linear in the batch: $adjoint" for adjoint in ("gauss", "interpolating")
    method = OptDisc(; solver = "auto", adjoint, rtol = 1.0e-5, atol = 1.0e-7)
    field, theta = decay(1.0e3)
    function bytes(batch)
        system, y0 = System(field, batch), repeat([1.0, 0.5], batch)
        gradient_of(system, theta, y0, [0.0, 0.1], method)
        return @allocated gradient_of(system, theta, y0, [0.0, 0.1], method)
    end
    bytes(10)
    @test bytes(2000) < 12 * bytes(200)
end

@testset "auto that never turns stiff takes no blocks" begin
    field = MLP([2, 8, 2], Tanh())
    system, theta, y0 = System(field, 50), theta_of(field), wave(100, 0.9, 0.2, 0.8)
    sol = solve_forward(system, theta, y0, [0.0, 1.0], OptDisc(; solver = "auto"))
    @test all(==(1), sol.sol.alg_choice)
    @test sol.report.work.n_vjp == 0
    @test all(J -> J isa SampleBlocks && isempty(J.blocks), (sol.sol.prob.f.jac_prototype,))
end

@testset "single precision" begin
    field, theta = decay(1.0e3)
    method = OptDisc(; solver = "auto", rtol = 1.0e-4, atol = 1.0e-5)
    y0 = Float32.([1.0, 0.5, 0.3, 0.2])
    _, single = gradient_of(System(field, 2; T = Float32), Float32.(theta), y0, [0.0, 0.5], method)
    _, double = gradient_of(System(field, 2), theta, Float64.(y0), [0.0, 0.5], method)
    @test eltype(single.by_theta) == Float32
    @test relative(single.by_y0, double.by_y0) < 1.0e-2
end

@testset "auto is refused where it can't be right" begin
    @test_throws PyNODE.InvalidArgument OptDisc(; solver = "auto", adjoint = "backsolve")
    @test OptDisc(; solver = "tsit5", adjoint = "backsolve").adjoint == "backsolve"
end
