@isdefined(SMALL) || include("setup.jl")

@testset "the spiral trains by $(nameof(typeof(method)))" for method in (
        DiscOpt(scheme("rk4")),
        OptDisc(; adjoint = "gauss"),
    )
    io = IOBuffer()
    done = train_spiral(method; iterations = 40, io)
    losses = [r.loss for r in done.iterations]
    @test length(losses) == 40
    @test minimum(losses) < 0.3 * losses[1]
    @test all(r -> r.seconds_forward > 0 && r.seconds_backward > 0, done.iterations)
    @test occursin("ms each", String(take!(io)))
end

@testset "both methods see the same problem" begin
    problem = PyNODE.spiral()
    theta = PyNODE.glorot(problem.field, 1)
    system = System(problem.field, 1)
    gradients = map((DiscOpt(scheme("rk4"); substeps = 8), OptDisc(; rtol = 1.0e-10, atol = 1.0e-12))) do method
        sol = solve_forward(system, theta, problem.y0, problem.ts, method)
        pullback(sol, 2 .* (sol.ys .- problem.data)).by_theta
    end
    @test relative(gradients[1], gradients[2]) < 1.0e-6
end

@testset "data of another size is refused" begin
    problem = PyNODE.spiral()
    system, theta = System(problem.field, 1), PyNODE.glorot(problem.field, 1)
    few = problem.data[:, 1:3]
    @test_throws r"data = size \(2, 3\): wrong size" train(
        system,
        theta,
        problem.y0,
        problem.ts,
        few,
        DiscOpt(scheme("rk4"));
        iterations = 1,
        learning_rate = 0.1,
    )
end
