@isdefined(SMALL) || include("setup.jl")
using PyNODE: STATE, TIME, Run, TapeWriter, operation!, parameter!, transposed!, weight!

described(model) = sprint(describe, model)

@testset "architectures as formulas" begin
    @test described(MLP([2, 50, 2], Tanh(); input_power = 3)) ==
        """
    # MLP on states y (2, batch), 252 parameters
    # theta: W0 (50, 2), b0 (50,), W1 (2, 50), b1 (2,)
    v2 = y .^ 3
    v3 = W0 * v2 .+ b0
    v4 = tanh.(v3)
    v5 = W1 * v4 .+ b1
    dy/dt = v5
    """
    text = described(ConcatSquash([2, 2], Tanh()))
    @test occursin("# once a stage\nv2 = w_g0 .* t\n", text)
    @test occursin("# for every sample\nv6 = W0 * y .+ b0\n", text)
    @test occursin(
        "v4 = W' * v3\nv5 = -v4\nv6 = vcat(v4[3:4, :], v5[1:2, :])\n",
        described(Hamiltonian(4, 6, Sigmoid())),
    )
    flow = System(MLP([2, 2], Tanh()), 1; flow = FlowState("exact"; kinetic = true))
    @test occursin("dl/dt = -tr(df/dy)\nd(kinetic cost)/dt", described(flow))
end

@testset "operations as formulas" begin
    w = TapeWriter("tape", 3)
    wanted = Pair{String, String}[]
    add(text, arguments...; options...) = (x = operation!(w, arguments...; options...); push!(wanted, "v$x" => text); x)
    row = parameter!(w, "net.0.bias", 3)
    add("2 .* y .- 0.5 .* net.0.bias", "add", [STATE, row], 3; numbers = [2, -0.5])
    add("y .* t", "multiply", [STATE, TIME], 3)
    mask = add("y .> 0.1", "greater", [STATE], 3; numbers = [0.1])
    add("ifelse.(v$mask .!= 0, y, net.0.bias)", "choose", [mask, STATE, row], 3)
    add("softplus.(y; beta = 1, threshold = 20)", "softplus", [STATE], 3; numbers = [1, 20])
    add("clamp.(y, -1, Inf)", "clamp", [STATE], 3; numbers = [-1, Inf])
    add("1 ./ y", "reciprocal", [STATE], 3)
    add("y .^ (-1.5)", "power", [STATE], 3; numbers = [-1.5])
    add("-y .+ 1", "affine", [STATE], 3; numbers = [-1, 1])
    add("maximum(y; dims = 1)", "largest", [STATE], 1; numbers = [1])
    add("sum(y; dims = 1)", "move", [STATE], 1; runs = [Run(1, 0, 1, 0, 0, 3)])
    add("y[2:3, :]", "move", [STATE], 2; runs = [Run(1, 1, 1, 0, 1, 2)])
    add("y[1:2:3, :]", "move", [STATE], 2; runs = [Run(1, 0, 2, 0, 1, 2)])
    add("repeat(y[2:2, :], 3)", "move", [STATE], 3; runs = [Run(1, 1, 0, 0, 1, 3)])
    add("vcat(y[1:2, :], t)", "move", [TIME, STATE], 3; runs = [Run(1, 0, 0, 2, 1, 1), Run(2, 0, 1, 0, 1, 2)])
    add("columns(3; [2:3] += y[1:2, :])", "move", [STATE], 3; runs = [Run(1, 0, 1, 1, 1, 2)])
    matrix = add("reshape(net.0.bias, 1, 3)'", "matrix", [row], 3; numbers = [3, 1])
    last = add("v$matrix * t", "linear", [TIME, matrix], 3)
    lines = split(described(Tape(w, last)), "\n")
    for (register, text) in wanted
        @test "$register = $text" in lines
    end
end

@testset "cases" begin
    path = joinpath(@__DIR__, "..", "..", "tests", "reference", "spiral.json")
    text = described(load_case(path))
    @test startswith(text, "# Case spiral: MLP, 2 numbers")
    @test endswith(text, "dy/dt = v5\n")
end
