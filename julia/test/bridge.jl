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

"Solves once; the answer as a Dict, whether it came as numbers or as JSON."
function solved!(ys, report, theta, y0, ts, probes, options, cancel; spec = SPEC)
    return answered(Bridge.prepared_solve(ys, report, spec, theta, y0, ts, probes, options, cancel)(), report)
end

answered(text::AbstractString, report) = JSON.parse(text)

function answered(::Nothing, report)
    answer = Dict{String, Any}(zip(Bridge.REPORT, report))
    return merge(answer, Dict("status" => "SUCCESS", "cost" => answer))
end

@testset "solve and pull back" begin
    theta, y0, ts = wave(27, 1.3, 0.4, 0.6), reshape(wave(6, 0.9, 0.2, 0.8), 2, 3), [0.0, 0.5, 1.0]
    ys, cancel, none = zeros(2, 3, 3), UInt8[0], zeros(0, 0)
    by_y0, by_theta, by_ts, cotangents = zeros(2, 3), zeros(27), zeros(3), zeros(2, 3, 3)
    for report in (zeros(0, 0), zeros(length(Bridge.REPORT)))
        back! = Bridge.prepared_pullback(by_y0, by_theta, by_ts, report, cotangents, cancel)
        answer = solved!(ys, report, theta, y0, ts, none, asked(; adjoint = "gauss"), cancel)
        @test answer["status"] == "SUCCESS"
        @test answer["cost"]["n_f"] > 0
        @test ys[:, :, 1] == y0
        handle = Int(answer["handle"])
        cotangents .= 2 .* ys
        back = answered(back!(handle, 1), report)
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
        Bridge.release(handle)
        @test_throws PyNODE.InvalidArgument back!(handle, 1)
    end
    thin = solved!(ys, zeros(0, 0), theta, y0, ts, none, asked(; gradient = false), cancel)
    @test thin["handle"] === nothing
    short = solved!(ys, zeros(length(Bridge.REPORT)), theta, y0, ts, none, asked(; max_steps = 1), cancel)
    @test (short["status"], short["handle"]) == ("MAX_STEPS", nothing)
    cancel[1] = 0x01
    @test_throws PyNODE.Cancelled solved!(ys, zeros(0, 0), theta, y0, ts, none, asked(), cancel)
end

@testset "systems are used again, with the arrays of now" begin
    flow = JSON.json(merge(
        JSON.parse(SPEC),
        Dict("flow" => Dict("divergence" => "hutchinson", "kinetic" => true, "jacobian" => false)),
    ))
    theta, y0, ts = wave(27, 1.3, 0.4, 0.6), zeros(4, 3), [0.0, 1.0]
    y0[1:2, :] .= reshape(wave(6, 0.9, 0.2, 0.8), 2, 3)
    probes, ys, report, cancel = ones(2, 3), zeros(4, 3, 2), zeros(length(Bridge.REPORT)), UInt8[0]
    back = (zeros(4, 3), zeros(27), zeros(2))
    cotangents = fill(1.0, 4, 3, 2)
    solve! = Bridge.prepared_solve(ys, report, flow, theta, y0, ts, probes, asked(), cancel)
    pull! = Bridge.prepared_pullback(back..., report, cotangents, cancel)
    "States and gradient of a solve that shares nothing with others."
    function alone()
        empty!(Bridge.IDLE)
        solve!()
        handle = Int(report[1])
        states = copy(ys)
        pull!(handle, 0)
        Bridge.release(handle)
        return states, copy(back[2])
    end
    first_time = alone()
    probes[1, :] .= -1.0
    theta .*= 0.5
    second_time = alone()
    @test first_time != second_time
    # one after the other in one system, then the first once more while the second is kept
    probes[1, :] .= 1.0
    theta .*= 2
    solve!()
    one = Int(report[1])
    Bridge.release(one)
    @test length(Bridge.IDLE) == 1
    solve!()
    one = Int(report[1])
    @test isempty(Bridge.IDLE)
    @test ys == first_time[1]
    probes[1, :] .= -1.0
    theta .*= 0.5
    solve!()
    two = Int(report[1])
    @test ys == second_time[1]
    pull!(one, 0)
    @test back[2] == first_time[2]
    pull!(two, 0)
    @test back[2] == second_time[2]
    foreach(Bridge.release, (one, two, two))
    @test length(Bridge.IDLE) == 2
    @test isempty(Bridge.HELD)
end

@testset "Disc-Opt, single precision, one evaluation" begin
    theta, y0 = Float32.(wave(27, 1.3, 0.4, 0.6)), Float32.(reshape(wave(6, 0.9, 0.2, 0.8), 2, 3))
    ys, cancel, none = zeros(Float32, 2, 3, 2), UInt8[0], zeros(0, 0)
    options = JSON.json(Dict(
        "kind" => "disc-opt",
        "A" => [[], [0.5]],
        "b" => [0.0, 1.0],
        "c" => [0.0, 0.5],
        "substeps" => [4],
        "gradient" => true,
    ))
    answer = solved!(ys, zeros(length(Bridge.REPORT)), theta, y0, [0.0, 1.0], none, options, cancel)
    @test answer["cost"]["n_f"] == 8
    dy = zeros(Float32, 2, 3)
    @test Bridge.evaluate!(dy, SPEC, theta, 0.0, y0, none) === nothing
    @test dy ≈ evaluate(MLP([2, 5, 2], Tanh()), theta, 0.0f0, y0) rtol = 1.0e-5
    @test haskey(JSON.parse(Bridge.versions()), "SciMLSensitivity")
    Bridge.release(Int(answer["handle"]))
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
        "theta" => PyNODE.glorot(problem.field, 0),
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
