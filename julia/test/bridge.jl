@isdefined(SMALL) || include("setup.jl")
using JSON
using PyNODE: Bridge

const SPEC = JSON.json(Dict(
    "field" => Dict("architecture" => "mlp", "widths" => [2, 5, 2], "activation" => "tanh", "input_power" => 1),
    "flow" => nothing,
))

function asked(; more...)
    options = Dict{String, Any}("kind" => "opt-disc", "rtol" => 1.0e-9, "atol" => 1.0e-11, "gradient" => true)
    for (name, value) in more
        options[string(name)] = value
    end
    return JSON.json(options)
end

@testset "solve and pull back" begin
    theta, y0, ts = wave(27, 1.3, 0.4, 0.6), reshape(wave(6, 0.9, 0.2, 0.8), 2, 3), [0.0, 0.5, 1.0]
    ys, cancel, none = zeros(2, 3, 3), UInt8[0], zeros(0, 0)
    answer = JSON.parse(Bridge.solve!(ys, SPEC, theta, y0, ts, none, asked(; adjoint = "gauss"), cancel))
    @test answer["status"] == "SUCCESS"
    @test answer["cost"]["n_f"] > 0
    @test ys[:, :, 1] == y0
    by_y0, by_theta, by_ts = zeros(2, 3), zeros(27), zeros(3)
    back = JSON.parse(Bridge.pullback!(by_y0, by_theta, by_ts, answer["handle"], 1, 2 .* ys, cancel))
    @test back["status"] == "SUCCESS"
    @test back["cost"]["n_vjp"] > 0
    system = System(MLP([2, 5, 2], Tanh()), 3)
    wanted = forwarddiff_gradient(
        system,
        theta,
        vec(y0),
        ts,
        ys -> sum(abs2, ys),
        OptDisc(; solver = "vern9", rtol = 1.0e-12, atol = 1.0e-12),
    )
    @test relative(vec(by_y0), wanted.by_y0) < 1.0e-7
    @test relative(by_theta, wanted.by_theta) < 1.0e-7
    Bridge.release(answer["handle"])
    @test_throws PyNODE.InvalidArgument Bridge.pullback!(by_y0, by_theta, by_ts, answer["handle"], 1, 2 .* ys, cancel)
    thin = JSON.parse(Bridge.solve!(ys, SPEC, theta, y0, ts, none, asked(; gradient = false), cancel))
    @test thin["handle"] === nothing
    cancel[1] = 0x01
    @test_throws PyNODE.Cancelled Bridge.solve!(ys, SPEC, theta, y0, ts, none, asked(), cancel)
end

@testset "Disc-Opt, single precision, one evaluation" begin
    theta, y0 = Float32.(wave(27, 1.3, 0.4, 0.6)), Float32.(reshape(wave(6, 0.9, 0.2, 0.8), 2, 3))
    ys, cancel, none = zeros(Float32, 2, 3, 2), UInt8[0], zeros(Float32, 0, 0)
    options = JSON.json(Dict(
        "kind" => "disc-opt",
        "A" => [[], [0.5]],
        "b" => [0.0, 1.0],
        "c" => [0.0, 0.5],
        "substeps" => [4],
        "gradient" => true,
    ))
    answer = JSON.parse(Bridge.solve!(ys, SPEC, theta, y0, [0.0, 1.0], none, options, cancel))
    @test answer["cost"]["n_f"] == 8
    dy = zeros(Float32, 2, 3)
    @test Bridge.evaluate!(dy, SPEC, theta, 0.0, y0, none) === nothing
    @test dy ≈ evaluate(MLP([2, 5, 2], Tanh()), theta, 0.0f0, y0) rtol = 1.0e-5
    @test haskey(JSON.parse(Bridge.versions()), "SciMLSensitivity")
end

@testset "training from Python's problem" begin
    problem = PyNODE.spiral(; points = 8)
    asked = Dict(
        "system" => Dict("field" => Dict(
            "architecture" => "mlp",
            "widths" => [2, 50, 2],
            "activation" => "tanh",
            "input_power" => 3,
        )),
        "theta" => PyNODE.glorot(problem.field.chain, 0),
        "y0" => problem.y0,
        "ts" => problem.ts,
        "data" => [problem.data[:, i] for i in axes(problem.data, 2)],
        "options" => Dict("kind" => "disc-opt", "scheme" => "rk4", "substeps" => 2),
        "iterations" => 5,
        "learning_rate" => 0.1,
    )
    answer = JSON.parse(Bridge.train(JSON.json(asked), UInt8[0]))
    @test length(answer["iterations"]) == 5
    @test length(answer["theta"]) == 252
end
