# From a tape to the program that the interpreter runs: fewer kinds of operations, and all that can be known before.
#
# A register is a matrix (columns, batch), or (columns, 1) where it depends on time and parameters alone. Matrices and
# biases are read from theta where they lie; rows of constants that other operations read are registers too.

# codes of instructions that are no function of one number, which have the codes before
const ADD, MULTIPLY, CHOOSE, MOVE, LINEAR, LARGEST = Tuple(length(FUNCTIONS) .+ (1:6))

const BY_STATE, BY_THETA = 0x01, 0x02 # what a cotangent leads to

const T_REGISTER, Y_REGISTER = 1, 2

"A value of the program. `leads` says whose cotangent its own one contributes to, `tangents_lead` that of its tangents."
struct Register
    columns::Int
    is_state::Bool
    has_tangents::Bool
    leads::UInt8
    tangents_lead::UInt8
end

"A register as an instruction reads it; `adds`: others have written to its cotangent (or to its tangents') before."
struct Operand
    register::Int
    has_tangents::Bool
    leads::UInt8
    tangents_lead::UInt8
    adds::Bool
    tangents_add::Bool
end

const NO_OPERAND = Operand(0, false, 0x00, 0x00, false, false)

"Where a matrix (out, in) lies: in theta behind `at` numbers, or as number `at` of those made from a row of time."
struct MatrixPlace
    in_theta::Bool
    at::Int
    n_in::Int
    n_out::Int
    transposed::Bool # memory holds it as (in, out), row by row
    leads::UInt8
end

const NO_MATRIX = MatrixPlace(false, 0, 0, 0, false, 0x00)

"One operation: `out` from its operands. A `MOVE` has those in `sources` and the runs in `runs` of its program."
struct Instruction
    code::Int
    out::Int
    columns::Int
    has_tangents::Bool
    tangents_lead::UInt8
    pulls::Bool # its result has a cotangent
    a::Operand
    b::Operand
    c::Operand
    p::Float64
    q::Float64
    matrix::MatrixPlace
    bias_at::Int # -1: none
    sources::UnitRange{Int}
    runs::UnitRange{Int}
    bends::Bool  # the slope of its function of one number changes
    covers::Bool # each column of a MOVE is that of one run
    covers_tangents::Bool
end

"A row of constants as a register: `n` numbers of theta behind `at`."
struct Row
    register::Int
    at::Int
    n::Int
end

"A register of time as a matrix."
struct TimeMatrix
    register::Int
    n_in::Int
    n_out::Int
end

"What the interpreter runs: `before` depends on time alone, `instructions` on the state."
struct Program
    n_params::Int
    registers::Vector{Register}
    rows::Vector{Row}
    matrices::Vector{TimeMatrix}
    before::Vector{Instruction}
    instructions::Vector{Instruction}
    sources::Vector{Operand}
    runs::Vector{Run}
    time_bars::Vector{Int} # registers of time that have a cotangent
    output::Int
end

# --- lowering --------------------------------------------------------------------------------------------------------

"An instruction of which it is not known yet which other ones pull the same operands."
struct Draft
    code::Int
    out::Int
    inputs::Vector{Int}
    smooth::Vector{Bool} # the inputs that derivatives go through
    numbers::Vector{Float64}
    matrix::MatrixPlace
    bias_at::Int
    runs::Vector{Run}
end

struct Lowering
    starts::Vector{Int} # where theta holds each slot
    constants::Vector{Constant}
    registers::Vector{Register}
    rows::Vector{Row}
    row_of::Dict{Int, Int} # by constant
    matrices::Vector{TimeMatrix}
    matrix_of::Dict{Int, MatrixPlace} # by input of operations
    register_of::Vector{Int}          # by the tape's number + 1
    drafts::Vector{Draft}
end

"The program of a tape that has been checked."
function lower(dim, slots, constants, operations, output)
    ends = cumsum(Int[length(slot) for slot in slots])
    starts = Int[e - length(slot) for (e, slot) in zip(ends, slots)]
    registers = [Register(1, false, false, 0x00, 0x00), Register(dim, true, true, BY_STATE, 0x00)]
    l = Lowering(
        starts,
        constants,
        registers,
        Row[],
        Dict{Int, Int}(),
        TimeMatrix[],
        Dict{Int, MatrixPlace}(),
        [T_REGISTER, Y_REGISTER],
        Draft[],
    )
    for operation in operations
        push!(l.register_of, lower!(l, operation))
    end
    out = l.register_of[output + 1]
    if out <= Y_REGISTER || !l.registers[out].is_state || l.registers[out].columns != dim
        step = l.registers[out].columns == 1 ? 0 : 1
        out = add!(l, MOVE, [out], dim; runs = [Run(1, 0, step, 0, 1, dim)], on_state = true)
    end
    return finished(l, isempty(ends) ? 0 : ends[end], out)
end

"The register of an input; a row of constants becomes one where it is first asked for."
function register_of(l::Lowering, input)
    input >= 0 && return l.register_of[input + 1]
    return get!(l.row_of, ~input) do
        constant = l.constants[~input + 1]
        n = length(constant)
        push!(l.registers, Register(n, false, false, BY_THETA, 0x00))
        push!(l.rows, Row(length(l.registers), l.starts[constant.slot], n))
        length(l.registers)
    end
end

function matrix_place(l::Lowering, input)
    input >= 0 && return l.matrix_of[input]
    constant = l.constants[~input + 1]
    n_out, n_in = constant.shape
    return MatrixPlace(true, l.starts[constant.slot], n_in, n_out, constant.transposed, BY_THETA)
end

"Adds the instructions of an operation; returns the register of its result."
function lower!(l::Lowering, operation::Operation)
    name, columns, inputs = operation.name, operation.columns, operation.inputs
    name == "linear" && return lower_linear!(l, operation)
    if name == "matrix"
        row = register_of(l, inputs[1])
        n_out, n_in = Int.(operation.numbers)
        push!(l.matrices, TimeMatrix(row, n_in, n_out))
        number, leads = length(l.matrices), l.registers[row].leads
        l.matrix_of[length(l.register_of)] = MatrixPlace(false, number, n_in, n_out, false, leads)
        return row
    end
    registers = [register_of(l, input) for input in inputs]
    if haskey(FUNCTION_CODES, name)
        if l.registers[registers[1]].columns != columns
            registers = [add!(l, MOVE, registers, columns; runs = [Run(1, 0, 0, 0, 1, columns)])]
        end
        return add!(l, FUNCTION_CODES[name], registers, columns; numbers = operation.numbers)
    end
    code = Dict("add" => ADD, "multiply" => MULTIPLY, "choose" => CHOOSE, "move" => MOVE, "largest" => LARGEST)[name]
    # a single column has no step
    runs = [run.count == 1 ? Run(run.input, run.first, 1, run.to, 1, 1) : run for run in operation.runs]
    return add!(l, code, registers, columns; numbers = operation.numbers, runs = filter(run -> run.count > 0, runs))
end

"A linear map; a bias that is no row of constants is added afterwards."
function lower_linear!(l::Lowering, operation::Operation)
    columns, inputs = operation.columns, operation.inputs
    x, matrix = register_of(l, inputs[1]), matrix_place(l, inputs[2])
    length(inputs) == 2 && return add!(l, LINEAR, [x], columns; matrix)
    b = inputs[3]
    if b < 0 && length(l.constants[~b + 1]) == columns
        return add!(l, LINEAR, [x], columns; matrix, bias_at = l.starts[l.constants[~b + 1].slot])
    end
    product = add!(l, LINEAR, [x], columns; matrix)
    return add!(l, ADD, [product, register_of(l, b)], columns; numbers = [1.0, 1.0])
end

"The type of the function of one number with that code; nothing for other instructions."
kind_of(code) = code <= length(FUNCTIONS) ? FUNCTIONS[code].second[1] : nothing

function add!(
    l::Lowering,
    code,
    inputs,
    columns;
    numbers = Float64[],
    matrix = NO_MATRIX,
    bias_at = -1,
    runs = Run[],
    on_state = false,
)
    values = l.registers[inputs]
    kind = kind_of(code)
    smooth = if code == LARGEST || (kind !== nothing && !has_slope(kind))
        fill(false, length(inputs))
    elseif code == CHOOSE
        [false, true, true]
    else
        fill(true, length(inputs))
    end
    leads = matrix.leads | (bias_at >= 0 ? BY_THETA : 0x00)
    tangents_lead = matrix.leads
    for (value, passes) in zip(values, smooth)
        passes || continue
        leads |= value.leads
        tangents_lead |= value.tangents_lead
        kind !== nothing && has_curvature(kind) && (tangents_lead |= value.leads)
    end
    if code == MULTIPLY
        a, b = values
        a.has_tangents && (tangents_lead |= b.leads)
        b.has_tangents && (tangents_lead |= a.leads)
    end
    has_tangents = any(value.has_tangents && passes for (value, passes) in zip(values, smooth))
    is_state = on_state || any(value.is_state for value in values)
    push!(l.registers, Register(columns, is_state, has_tangents, leads, has_tangents ? tangents_lead : 0x00))
    push!(l.drafts, Draft(code, length(l.registers), inputs, smooth, numbers, matrix, bias_at, runs))
    return length(l.registers)
end

"The program, once all instructions are known: which of them have cotangents, and which write to one first."
function finished(l::Lowering, n_params, output)
    pulled = falses(length(l.registers))
    pulled[output] = l.registers[output].leads != 0
    for draft in reverse(l.drafts)
        pulled[draft.out] || continue
        for (input, passes) in zip(draft.inputs, draft.smooth)
            passes && l.registers[input].leads != 0 && (pulled[input] = true)
        end
        matrix = draft.matrix
        matrix.leads != 0 && !matrix.in_theta && (pulled[l.matrices[matrix.at].register] = true)
    end
    before, instructions, sources, runs = Instruction[], Instruction[], Operand[], Run[]
    written, tangents_written = falses(length(l.registers)), falses(length(l.registers))
    for draft in reverse(l.drafts)
        out = l.registers[draft.out]
        operands = fill(NO_OPERAND, length(draft.inputs))
        for k in reverse(eachindex(draft.inputs))
            # the order in which the interpreter pulls them
            register, passes = draft.inputs[k], draft.smooth[k]
            value = l.registers[register]
            # cotangents of time are cleared first, and everything is added to them
            adds, tangents_add = written[register] || !value.is_state, tangents_written[register]
            operands[k] = Operand(
                register,
                value.has_tangents,
                passes ? value.leads : 0x00,
                passes && value.has_tangents ? value.tangents_lead : 0x00,
                adds,
                tangents_add,
            )
            if pulled[draft.out] && passes
                written[register] |= value.leads != 0
                tangents_written[register] |= value.has_tangents && value.tangents_lead != 0
            end
        end
        is_move = draft.code == MOVE
        is_move && append!(sources, operands)
        is_move && append!(runs, draft.runs)
        covers = is_move && covers_all(draft.runs, out.columns)
        a, b, c = is_move ? (NO_OPERAND, NO_OPERAND, NO_OPERAND) : (operands..., NO_OPERAND, NO_OPERAND)[1:3]
        p, q = (draft.numbers..., 0.0, 0.0)
        instruction = Instruction(
            draft.code,
            draft.out,
            out.columns,
            out.has_tangents,
            out.tangents_lead,
            pulled[draft.out],
            a,
            b,
            c,
            p,
            q,
            draft.matrix,
            draft.bias_at,
            is_move ? ((length(sources) - length(operands) + 1):length(sources)) : (1:0),
            is_move ? ((length(runs) - length(draft.runs) + 1):length(runs)) : (1:0),
            out.has_tangents && kind_of(draft.code) !== nothing && has_curvature(kind_of(draft.code)),
            covers,
            covers && all(operand.has_tangents for operand in operands)
        )
        push!(out.is_state ? instructions : before, instruction)
    end
    time_bars = [i for (i, register) in enumerate(l.registers) if pulled[i] && !register.is_state]
    return Program(
        n_params,
        l.registers,
        l.rows,
        l.matrices,
        reverse!(before),
        reverse!(instructions),
        sources,
        runs,
        time_bars,
        output,
    )
end

"All that an instruction reads, except matrix and bias."
function operands(program::Program, it::Instruction)
    it.code == MOVE && return program.sources[it.sources]
    return filter(operand -> operand.register != 0, [it.a, it.b, it.c])
end

"Whether each column of the result comes from one run."
function covers_all(runs, columns)
    targets = Int[]
    for run in runs
        append!(targets, (run.to + k * run.to_step for k in 0:(run.count - 1)))
    end
    return sort!(targets) == 0:(columns - 1)
end
