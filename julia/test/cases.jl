@isdefined(SMALL) || include("setup.jl")
using JSON

const REFERENCE = joinpath(@__DIR__, "..", "..", "tests", "reference")
const RECORDED = filter(endswith(".json"), readdir(REFERENCE; join = true))
const MODULES = filter(endswith(".json"), readdir(joinpath(REFERENCE, "modules"); join = true))

"The recorded gradient of the continuous problem."
function reference_of(case)
    row = case.data["reference"]
    return (loss = row["loss"], by_theta = PyNODE.floats(row["grad_theta"]), by_y0 = PyNODE.floats(row["grad_y0"]))
end

@testset "recorded case $(basename(path))" for path in [RECORDED; MODULES]
    case = load_case(path)
    wanted = reference_of(case)
    @test rerun(case, OptDisc(; rtol = 1.0e-10, atol = 1.0e-12)).loss ≈ wanted.loss rtol = 1.0e-8
    for adjoint in PyNODE.ADJOINTS
        result = rerun(case, OptDisc(; adjoint, rtol = 1.0e-10, atol = 1.0e-12))
        @test relative(result.by_theta, wanted.by_theta) < 1.0e-7
        @test relative(result.by_y0, wanted.by_y0) < 1.0e-7
    end
    for row in PyNODE.recorded(case.data, "disc_opt")
        name = row["scheme"] == "rk4_38" ? "rk38" : row["scheme"]
        result = rerun(case, DiscOpt(scheme(name); substeps = row["substeps"]))
        @test result.loss ≈ row["loss"] rtol = 1.0e-12
        @test relative(result.by_theta, PyNODE.floats(row["grad_theta"])) < 1.0e-11
        @test relative(result.by_y0, PyNODE.floats(row["grad_y0"])) < 1.0e-11
    end
end

@testset "losses and their cotangents" begin
    ys = reshape(wave(24, 0.7, 0.1, 1.0), 8, 3)
    for loss in (
            PyNODE.SquaresLoss(0.5, 0.2),
            PyNODE.SquaresLoss(0.1 .* ys, 1.0),
            PyNODE.LinearLoss(reshape(wave(24, 1.7, 0.1, 1.0), 8, 3)),
            PyNODE.LikelihoodLoss(2, 4),
        )
        @test PyNODE.cotangents(loss, ys) ≈ reshape(ForwardDiff.gradient(loss, ys), 8, 3)
    end
end

"The small case of an MLP as a file, with `changes`."
function case_file(changes...)
    inputs = Dict{String, Any}(
        "name" => "small",
        "field" => Dict("architecture" => "mlp", "widths" => [1, 1], "activation" => "tanh", "input_power" => 1),
        "theta" => [-0.4, 0.1],
        "y0" => [1.5, -0.5],
        "ts" => [0.0, 0.5, 1.0],
        "batch" => 2,
        "dim" => 1,
        changes...,
    )
    path = joinpath(mktempdir(), "small.json")
    write(path, JSON.json(inputs))
    return path
end

@testset "a case says its loss, or its sentence is understood" begin
    ys = [1.0 2.0 3.0; 4.0 5.0 6.0]
    loss(changes...) = load_case(case_file(changes...)).loss(ys)
    thirds(divisor) = "sum over all output times and entries of (ys - 0.3)^2, divided by $divisor"
    @test loss("loss_form" => Dict("kind" => "squares", "shift" => 0.3, "scale" => 0.25)) ≈ sum(abs2, ys .- 0.3) / 4
    @test loss("loss" => thirds(4)) ≈ sum(abs2, ys .- 0.3) / 4
    @test loss("loss" => "sum over all output times and entries of ys^2, divided by 3") ≈ sum(abs2, ys) / 3
    data = [[1.0, 4.5], [2.0, 5.0], [2.0, 6.0]]
    @test loss("loss" => "sum of squares of (ys - data)", "data" => data) ≈ 1.25
    @test_throws PyNODE.InvalidArgument loss("loss" => "sum of squares of (ys - data)")
    for sentence in ("sum (ys - 0.3)^2 / 4", thirds(0), thirds("4, or so"), "")
        @test_throws PyNODE.InvalidArgument loss("loss" => sentence)
    end
    @test_throws PyNODE.InvalidArgument loss()
    @test_throws PyNODE.InvalidArgument loss("loss_form" => Dict("kind" => "nll"))
    message = sprint(
        showerror,
        try
            loss("loss" => "sum (ys - 0.3)^2 / 4")
        catch error
            error
        end,
    )
    @test occursin("no loss_form", message) && occursin("sum (ys - 0.3)^2 / 4", message)
end

@testset "the sentences of the recorded cases say their loss" for path in RECORDED
    case = load_case(path)
    ys = PyNODE.columns(case.data["reference"]["ys"])
    @test case.loss(ys) ≈ case.data["reference"]["loss"] rtol = 1.0e-12
end

@testset "compare prints every row" begin
    io = IOBuffer()
    case = load_case(joinpath(REFERENCE, "antisymmetric.json"))
    rows = compare(case; io)
    @test length(rows) == 6 + 1 + 20 + 6
    @test maximum(row.error_theta for row in rows if startswith(row.name, "here: gauss")) < 1.0e-6
    @test occursin("discrete adjoint", String(take!(io)))
    @test_throws PyNODE.InvalidArgument load_case("nosuch.json")
end

@testset "compare takes the tape of a module" begin
    case = load_case(joinpath(REFERENCE, "modules", "pendulum.json"))
    @test startswith(sprint(show, case), "Case pendulum: tape, ")
    rows = compare(case; io = IOBuffer())
    @test length(rows) == 6 + 1 + 8 + 4
    errors = [row.error_theta for row in rows if !occursin("rk", row.name) && !occursin("euler", row.name)]
    @test maximum(errors) < 1.0e-3
end

@testset "a method that fails is a row, not an end" begin
    # one step of RK4 over [0, 3] blows up where the solution does not
    inputs = Dict{String, Any}(
        "name" => "stiff",
        "field" => Dict("architecture" => "mlp", "widths" => [1, 1], "activation" => "tanh", "input_power" => 3),
        "theta" => [-40.0, 0.0],
        "y0" => [30.0],
        "ts" => [0.0, 3.0e2],
        "batch" => 1,
        "dim" => 1,
        "loss_form" => Dict("kind" => "squares", "shift" => 0.0, "scale" => 1.0),
        "results" => [Dict("label" => "elsewhere", "failed" => "it did")],
    )
    path = joinpath(mktempdir(), "stiff.json")
    write(path, JSON.json(inputs))
    rows = compare(load_case(path); io = IOBuffer())
    status = Dict(row.name => row.failed for row in rows)
    @test status["here: rk4 x 1, discrete adjoint"] == "NON_FINITE"
    @test status["file: elsewhere"] == "it did"
end
