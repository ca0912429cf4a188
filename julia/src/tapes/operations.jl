# The operations of a tape as plain data, and what they must be to fit together.

"One tensor in theta: its name, its shape in memory (row by row), fan-in and fan-out for Glorot (nothing: starts at 0)."
struct Slot
    name::String
    shape::Vector{Int}
    fan::Union{Nothing, Tuple{Int, Int}}
end

Base.length(slot::Slot) = prod(slot.shape)

"A slot as operations use it: a row, or a matrix (out, in), `transposed` if memory holds it as (in, out)."
struct Constant
    slot::Int
    shape::Vector{Int}
    transposed::Bool
end

Base.length(constant::Constant) = prod(constant.shape)
is_matrix(constant::Constant) = length(constant.shape) == 2

"`count` columns of one input that are added to columns of the result; columns count from 0."
struct Run
    input::Int # its place among the inputs, from 1
    first::Int
    step::Int
    to::Int
    to_step::Int
    count::Int
end

"The run from the columns of the result back to those of the input."
reversed(run::Run) = Run(run.input, run.to, run.to_step, run.first, run.step, run.count)

"""
    Operation(name, inputs, columns; numbers = Float64[], runs = Run[])

One operation, which writes a register of its own: 0 is time, 1 the state, 2 + i what operation i (from 0) writes. An
input is a register, or `~i` (negative) for constant i. `name` is a function of one number (see [`FUNCTIONS`](@ref)), or

- `add`: numbers (alpha, beta), alpha a + beta b;
- `multiply`: a b;
- `choose`: inputs (mask, a, b), a where the mask is not 0, else b;
- `move`: every run adds columns of an input to columns of the result, which is 0 elsewhere;
- `linear`: inputs (x, matrix) or (x, matrix, bias), W x + bias with a matrix that is a constant or made by `matrix`;
- `matrix`: numbers (out, in), a matrix from a row of time, which fills it row by row;
- `largest`: numbers (groups,), the largest of each group of adjoining columns, with the derivative 0.

Operands of elementwise operations broadcast: a row of time or of constants over samples, a single column over columns.
"""
struct Operation
    name::String
    inputs::Vector{Int}
    columns::Int
    numbers::Vector{Float64}
    runs::Vector{Run}
end

Operation(name, inputs, columns; numbers = Float64[], runs = Run[]) = Operation(name, inputs, columns, numbers, runs)

const TIME, STATE = 0, 1 # the registers that every tape has

"Operations that are no function of one number: how many inputs and numbers they take (nothing: any)."
const OTHERS = Dict(
    "add" => (2:2, 2),
    "multiply" => (2:2, 0),
    "choose" => (3:3, 0),
    "move" => (1:typemax(Int), 0),
    "linear" => (2:3, 0),
    "matrix" => (1:1, 2),
    "largest" => (1:1, 1),
)

# --- what a tape must be ---------------------------------------------------------------------------------------------

# The interpreter does not look at bounds, so every number that it will follow is looked at here.
function check_tape(dim, slots, constants, operations, output)
    dim >= 1 || refuse("dim", dim, "not a positive integer")
    for slot in slots
        all(>=(0), slot.shape) || refuse("slots", slot.name, "negative sizes")
    end
    for (i, constant) in enumerate(constants)
        constant.slot in eachindex(slots) || refuse("constants", i - 1, "no such value")
        same = all(>=(0), constant.shape) && length(constant) == length(slots[constant.slot])
        same || refuse("constants", i - 1, "not the size of $(slots[constant.slot].name)")
        length(constant.shape) <= 2 || refuse("constants", i - 1, "neither a row nor a matrix")
    end
    shapes = Vector{Vector{Int}}([[1], [dim]]) # of registers: their columns, or (out, in)
    on_state = [false, true]
    for (i, operation) in enumerate(operations)
        inputs = map(operation.inputs) do input
            input in (-length(constants)):(length(shapes) - 1) || refuse("operations", i - 1, "unknown input $input")
            input < 0 ? constants[~input + 1].shape : shapes[input + 1]
        end
        problem = problem_of(operation, inputs)
        problem === nothing || refuse("operations", "$(i - 1) ($(operation.name))", problem)
        is_state = any(input >= 0 && on_state[input + 1] for input in operation.inputs)
        operation.name == "matrix" && is_state && refuse("operations", i - 1, "a matrix that depends on the state")
        push!(shapes, operation.name == "matrix" ? Int.(operation.numbers) : [operation.columns])
        push!(on_state, is_state)
    end
    output in 0:(length(shapes) - 1) || refuse("output", output, "no such register")
    length(shapes[output + 1]) == 1 && only(shapes[output + 1]) in (1, dim) ||
        refuse("output", output, "it does not have $dim columns")
    return nothing
end

refuse(what, value, problem) = throw(InvalidArgument(
    what,
    value,
    problem,
    "use a tape that pynode has written (crosscheck writes cases)",
))

"What is wrong with an operation whose inputs have these shapes; nothing if all is well."
function problem_of(operation::Operation, shapes)
    name, columns, numbers = operation.name, operation.columns, operation.numbers
    is_function = haskey(FUNCTION_CODES, name)
    is_function || haskey(OTHERS, name) || return "unknown operation"
    counts, n = is_function ? (1:1, n_numbers(FUNCTION_CODES[name])) : OTHERS[name]
    length(shapes) in counts || return "wrong number of inputs"
    length(numbers) == n || return "wrong number of numbers"
    columns >= 0 || return "negative columns"
    if name == "linear"
        length(shapes[2]) == 2 || return "its second input is no matrix"
        n_out, n_in = shapes[2]
        fits = n_out == columns && has_columns(shapes[1], n_in) && all(s -> has_columns(s, columns, 1), shapes[3:end])
        return fits ? nothing : "sizes that don't fit"
    end
    any(s -> length(s) == 2, shapes) && return "a matrix where a row is needed"
    if name == "matrix"
        all(x -> isinteger(x) && 0 <= x < 2^31, numbers) || return "sizes that are none"
        return has_columns(shapes[1], Int(prod(numbers))) ? nothing : "sizes that don't fit"
    elseif name == "largest"
        own = prod(shapes[1])
        fits = numbers[1] == columns && columns >= 1 && own % columns == 0 && own >= columns
        return fits ? nothing : "groups that don't fit"
    elseif name == "move"
        return all(run -> is_inside(run, shapes, columns), operation.runs) ? nothing : "columns that don't exist"
    end
    return all(s -> has_columns(s, columns, 1), shapes) ? nothing : "columns that don't fit"
end

has_columns(shape, allowed...) = length(shape) < 2 && prod(shape) in allowed

function is_inside(run::Run, shapes, columns)
    run.input in eachindex(shapes) && run.count >= 0 || return false
    run.count == 0 && return true
    own = 0:(prod(shapes[run.input]) - 1)
    ends(first, step) = (first, first + (run.count - 1) * step)
    return all(in(own), ends(run.first, run.step)) && all(in(0:(columns - 1)), ends(run.to, run.to_step))
end
