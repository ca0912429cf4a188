@isdefined(SMALL) || include("setup.jl")
# fatou-ignore unused-import: as others do
using PyNODE: STATE, TIME, InvalidArgument, Run, Sin, TapeWriter, operation!, parameter!, transposed!, weight!
using Random: Xoshiro
using ReverseDiff: ReverseDiff
using Zygote: Zygote

# Small tapes that have every operation with every kind of operand: a value of each sample, of time, a constant; one column
# and several.

"The tape that `write(w)` writes, which returns its output."
written(write, dim = 3) = (w = TapeWriter("tape", dim); output = write(w); Tape(w, output))

add!(w, x, y, columns; numbers = [1, 1]) = operation!(w, "add", [x, y], columns; numbers)
multiply!(w, x, y, columns) = operation!(w, "multiply", [x, y], columns)
column!(w, x, i) = operation!(w, "move", [x], 1; runs = [Run(1, i, 1, 0, 1, 1)])

"Operands of each kind for elementwise operations of three columns."
function operands!(w)
    row, one = parameter!(w, "row", 3), parameter!(w, "one", 1)
    wide = operation!(w, Sin(), multiply!(w, row, TIME, 3), 3)
    state = operation!(w, Tanh(), STATE, 3)
    return [state, column!(w, state, 1), wide, operation!(w, Sin(), TIME, 1), row, one]
end

"f = tanh(y) + what `operate` makes of a pair of operands, for every pair."
pairs_of(operate) = written() do w
    operands = operands!(w)
    sum, single = operands[1], operands[[2, 4, 6]]
    for a in operands, b in operands
        own = a in single && b in single ? 1 : 3
        sum = add!(w, sum, operate(w, a, b, own), 3)
    end
    sum
end

function linear_maps(w)
    W, b, V = weight!(w, "W", 4, 3), parameter!(w, "b", 4), weight!(w, "V", 3, 4)
    x = operation!(w, Tanh(), operation!(w, "linear", [STATE, W, b], 4), 4)
    y = operation!(w, "linear", [x, transposed!(w, W)], 3)
    z = operation!(w, "linear", [x, V], 3)
    # by time: argument, bias, matrix
    row = multiply!(w, parameter!(w, "row", 4), TIME, 4)
    u = operation!(w, "linear", [row, V, parameter!(w, "c", 3)], 3)
    v = operation!(w, "linear", [operation!(w, Sin(), STATE, 3), transposed!(w, V), row], 4)
    entries = operation!(w, Sin(), multiply!(w, parameter!(w, "entries", 12), TIME, 12), 12)
    matrix = operation!(w, "matrix", [entries], 12; numbers = [3, 4])
    s = operation!(w, "linear", [v, matrix, z], 3)
    r = operation!(w, "linear", [parameter!(w, "d", 4), matrix, column!(w, STATE, 0)], 3)
    return add!(w, add!(w, add!(w, y, z, 3), add!(w, u, s, 3), 3; numbers = [2, -0.5]), r, 3)
end

function moves(w)
    state = operation!(w, Sin(), STATE, 3)
    row, time = parameter!(w, "row", 4), multiply!(w, parameter!(w, "other", 2), TIME, 2)
    runs = [
        Run(1, 0, 2, 4, -1, 2), # two columns, backwards
        Run(2, 3, -1, 0, 1, 3),
        Run(1, 0, 1, 2, 0, 3), # a sum of columns
        Run(3, 1, 0, 1, 2, 2), # one column for two
        Run(1, 1, 1, 3, 1, 1),
    ]
    x = operation!(w, "move", [state, row, time], 6; runs)
    y = operation!(w, "move", [x, STATE], 3; runs = [Run(1, 1, 2, 0, 1, 3), Run(2, 0, 1, 0, 1, 3)])
    z = operation!(w, "move", [y, y], 3; runs = [Run(1, 0, 1, 1, 1, 2), Run(2, 2, 1, 0, 1, 1)]) # a rotation
    return multiply!(w, z, operation!(w, "move", [row], 3; runs = [Run(1, 0, 1, 0, 1, 3)]), 3)
end

function choices(w)
    operands = operands!(w)
    sum = operands[1]
    for mask in operands, (a, b) in zip(operands, circshift(operands, 2))
        test = operation!(w, "greater", [mask], mask in operands[[2, 4, 6]] ? 1 : 3; numbers = [0.1])
        sum = add!(w, sum, operation!(w, "choose", [test, a, b], 3), 3)
    end
    return sum
end

"The function of one column for three, the largest of groups, and registers that many read."
function others(w)
    x = operation!(w, "affine", [column!(w, STATE, 2)], 3; numbers = [2, 0.3])
    y = operation!(w, Sin(), STATE, 3)
    largest = operation!(w, "largest", [y], 1; numbers = [1])
    z = operation!(w, "exp", [add!(w, y, largest, 3; numbers = [1, -1])], 3)
    powers = operation!(w, "power", [operation!(w, "square", [z], 3)], 3; numbers = [1.5])
    pairs = operation!(w, "move", [y, z], 6; runs = [Run(1, 0, 1, 0, 1, 3), Run(2, 0, 1, 3, 1, 3)])
    top = operation!(w, "largest", [pairs], 3; numbers = [3])
    return add!(w, multiply!(w, x, z, 3), multiply!(w, add!(w, powers, multiply!(w, y, y, 3), 3), top, 3), 3)
end

"Sums of one column and a row, whose tangents are one column, where all three are read."
function widened_sums(w)
    single, row = column!(w, operation!(w, Sin(), STATE, 3), 1), parameter!(w, "row", 3)
    x = operation!(w, "move", [add!(w, single, row, 3)], 3; runs = [Run(1, 2, -1, 0, 1, 3)])
    y = operation!(w, "linear", [add!(w, row, single, 3), weight!(w, "W", 3, 3)], 3)
    return add!(w, multiply!(w, x, STATE, 3), y, 3)
end

"Every function of one number, of arguments where it has a derivative."
function functions(w)
    x = operation!(w, "affine", [operation!(w, Sin(), STATE, 3)], 3; numbers = [0.3, 1.9])
    time = operation!(
        w,
        "affine",
        [operation!(w, Sin(), multiply!(w, parameter!(w, "row", 3), TIME, 3), 3)],
        3;
        numbers = [0.3, 1.9],
    )
    sum = x
    for (name, (_, n)) in PyNODE.FUNCTIONS, argument in (x, time)
        f = operation!(w, name, [argument], 3; numbers = [1.2, 2.0][1:n])
        sum = add!(w, sum, argument == x ? f : multiply!(w, f, x, 3), 3; numbers = [1, 0.2])
    end
    return sum
end

const TAPES = [
    "sums" => pairs_of((w, a, b, own) -> add!(w, a, b, own; numbers = [0.7, -1.3])),
    "products" => pairs_of((w, a, b, own) -> multiply!(w, a, b, own)),
    "linear maps" => written(linear_maps),
    "moves" => written(moves),
    "choices" => written(choices),
    "others" => written(others),
    "widened sums" => written(widened_sums),
    "functions" => written(functions),
    "the state" => written(w -> STATE),
    "a constant" => written(w -> operation!(w, Sin(), parameter!(w, "one", 1), 1)),
    "time" => written(w -> multiply!(w, parameter!(w, "row", 3), TIME, 3)),
    "a column" => written(w -> column!(w, operation!(w, Sin(), STATE, 3), 1)),
    "no slope" => written(w -> operation!(w, "sign", [STATE], 3)),
]

@testset "$name, batch $batch" for (name, tape) in TAPES, batch in (1, 3)
    check_products(tape, batch, 0.37)
end

@testset "AD systems see the plain form of $name" for (name, tape) in TAPES
    for system in systems_of(tape, 2)[[1, 3]]
        n = state_length(system)
        theta, y, v, t = theta_of(tape), wave(n, 0.9, 0.2, 0.8), wave(n, 2.1, 0.3, 1.0), 0.37
        by_state, by_theta = zeros(n), zeros(length(theta))
        PyNODE.vjp_both!(by_state, by_theta, v, system, y, theta, t)
        f(y, theta) = sum(v .* slope_of(system, y, theta, t))
        zygote = Zygote.gradient(f, y, theta)
        @test something(zygote[1], zeros(n)) ≈ by_state rtol = 1.0e-11 atol = 1.0e-13
        @test something(zygote[2], zero(theta)) ≈ by_theta rtol = 1.0e-11 atol = 1.0e-13
        # a compiled tape of ReverseDiff, run again at another point
        compiled = ReverseDiff.compile(ReverseDiff.GradientTape(f, (0.3 .* y .+ 0.1, 0.7 .* theta)))
        reverse = ReverseDiff.gradient!((zeros(n), zero(theta)), compiled, (y, theta))
        @test reverse[1] ≈ by_state rtol = 1.0e-11 atol = 1.0e-13
        @test reverse[2] ≈ by_theta rtol = 1.0e-11 atol = 1.0e-13
    end
end

# Matrices beyond LOOP_LIMIT, which take BLAS.
@testset "large products" begin
    tape = written(40) do w
        W = weight!(w, "W", 60, 40)
        x = operation!(w, Tanh(), operation!(w, "linear", [STATE, W, parameter!(w, "b", 60)], 60), 60)
        add!(w, operation!(w, "linear", [x, transposed!(w, W)], 40), STATE, 40; numbers = [1, -1])
    end
    theta = wave(n_params(tape), 1.3, 0.4, 0.2)
    for system in (System(tape, 2), System(tape, 2; flow = FlowState("exact"; kinetic = true, jacobian = true)))
        n = state_length(system)
        y, v, direction = wave(n, 0.9, 0.2, 0.8), wave(n, 2.1, 0.3, 1.0), wave(n_params(tape), 0.3, 0.1, 1.0)
        by_state, by_theta = zeros(n), zero(theta)
        PyNODE.vjp_both!(by_state, by_theta, v, system, y, theta, 0.3)
        along(f) = ForwardDiff.derivative(h -> sum(v .* f(h)), 0.0)
        @test sum(by_state .* v) ≈ along(h -> slope_of(system, y .+ h .* v, theta, 0.3)) rtol = 1.0e-11
        @test sum(by_theta .* direction) ≈ along(h -> slope_of(system, y, theta .+ h .* direction, 0.3)) rtol = 1.0e-11
    end
end

"What a right-hand side and all products allocate, after a first call."
function allocated(system, theta)
    n = state_length(system)
    y, v = wave(n, 0.9, 0.2, 0.8), wave(n, 2.1, 0.3, 1.0)
    dy, by_state, by_theta = zeros(n), zeros(n), zero(theta)
    function work(y)
        system(dy, y, theta, 0.37)
        vjp!(by_state, v, system, y, theta, 0.37)
        vjp_theta!(by_theta, v, system, y, theta, 0.37)
        PyNODE.vjp_both!(by_state, by_theta, v, system, y, theta, 0.37)
        return nothing
    end
    work(y)
    y .*= 0.5
    return @allocated work(y)
end

@testset "$name allocates nothing" for (name, tape) in [TAPES; SMALL], batch in (1, 300)
    for system in systems_of(tape, batch)
        @test allocated(system, theta_of(tape)) == 0
    end
end

@testset "numbers of Float32 for $name" for (name, tape) in TAPES
    for system in systems_of(tape, 2)
        narrow = System(
            tape,
            2;
            flow = system.flow,
            probes = system.V[:, 1:(size(system.V, 2) > 0 ? 2 : 0)],
            T = Float32,
        )
        n = state_length(system)
        y, v, theta = wave(n, 0.9, 0.2, 0.8), wave(n, 2.1, 0.3, 1.0), theta_of(tape)
        wide = (zeros(n), zeros(n), zero(theta))
        single = map(x -> Float32.(x), wide)
        for (s, (dy, by_state, by_theta), T) in ((system, wide, Float64), (narrow, single, Float32))
            s(dy, T.(y), T.(theta), T(0.37))
            PyNODE.vjp_both!(by_state, by_theta, T.(v), s, T.(y), T.(theta), T(0.37))
        end
        @test all(isapprox(a, b; rtol = 1.0e-4, atol = 1.0e-5) for (a, b) in zip(single, wide))
        @test slope_of(narrow, Float32.(y), Float32.(theta), 0.37f0) isa Vector{Float32}
    end
end

@testset "what is no tape" begin
    refused(write) = @test_throws InvalidArgument written(write)
    refused(w -> operation!(w, "nosuch", [STATE], 3))
    refused(w -> operation!(w, Tanh(), STATE, 2))
    refused(w -> operation!(w, Tanh(), 5, 3))
    refused(w -> operation!(w, Tanh(), -2, 3))
    refused(w -> operation!(w, "add", [STATE], 3; numbers = [1, 1]))
    refused(w -> operation!(w, "add", [STATE, STATE], 3))
    refused(w -> operation!(w, "linear", [STATE, weight!(w, "W", 3, 2)], 3))
    refused(w -> operation!(w, "linear", [STATE, parameter!(w, "b", 3)], 3))
    refused(w -> operation!(w, Tanh(), weight!(w, "W", 3, 1), 3))
    refused(w -> operation!(w, "matrix", [STATE], 3; numbers = [1, 3]))
    refused(w -> operation!(w, "largest", [STATE], 2; numbers = [2]))
    refused(w -> operation!(w, "move", [STATE], 3; runs = [Run(1, 1, 1, 0, 1, 3)]))
    refused(w -> operation!(w, "move", [STATE], 3; runs = [Run(1, 0, 1, 2, -2, 3)]))
    refused(w -> operation!(w, "move", [STATE], 3; runs = [Run(2, 0, 1, 0, 1, 3)]))
    refused(w -> column!(w, STATE, 1) + 1)
    refused(w -> operation!(w, "move", [STATE], 2; runs = [Run(1, 1, 1, 0, 1, 2)]))
end
