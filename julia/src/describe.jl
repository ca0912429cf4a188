# A model as formulas that one can read: one line an operation, with the names that its parameters have.

const MOST_PARTS = 6 # of a concatenation, that are shown

"""
    describe([io,] model)

Prints what a field, a [`System`](@ref) or a [`Case`](@ref) computes, as formulas in Julia's notation on states `y`
`(dim, batch)`: first what depends on time alone, then what every sample has.
"""
describe(model) = describe(stdout, model)

function describe(io::IO, tape::Tape)
    println(io, "# ", name(tape), " on states y (", tape.dim, ", batch), ", n_params(tape), " parameters")
    isempty(tape.slots) || println(io, "# theta: ", join(["$(s.name) $(shown(s.shape))" for s in tape.slots], ", "))
    on_state = [false, true]
    for operation in tape.operations
        push!(on_state, any(input >= 0 && on_state[input + 1] for input in operation.inputs))
    end
    for (layer, title) in ((false, "# once a stage"), (true, "# for every sample"))
        own = [i for i in eachindex(tape.operations) if on_state[i + 2] == layer]
        isempty(own) || all(on_state[3:end]) || println(io, title)
        for i in own
            println(io, "v", i + 1, " = ", formula(tape, tape.operations[i]))
        end
    end
    println(io, "dy/dt = ", name_of(tape, tape.output))
    return nothing
end

function describe(io::IO, system::System)
    describe(io, system.field)
    flow = system.flow
    flow === nothing && return nothing
    println(io, "dl/dt = -tr(df/dy)", flow.exact ? "" : ", estimated by one probe a sample")
    flow.kinetic && println(io, "d(kinetic cost)/dt = |dy/dt|^2 / 2")
    flow.jacobian && println(io, "d(Jacobian cost)/dt = |df/dy|^2", flow.exact ? "" : ", estimated by the same probe")
    return nothing
end

function describe(io::IO, case::Case)
    println(io, "# ", case)
    return describe(io, case.system)
end

describe(io::IO, field::Field) = println(io, field)

shown(shape) = "(" * join(shape, ", ") * (length(shape) == 1 ? ",)" : ")")
shown(x::Float64) = isinteger(x) && abs(x) < 1.0e15 ? string(Int(x)) : string(x)

"How formulas call an input of an operation."
function name_of(tape::Tape, input)
    input == TIME && return "t"
    input == STATE && return "y"
    input > STATE && return "v$input"
    constant = tape.constants[~input + 1]
    return tape.slots[constant.slot].name * (constant.transposed ? "'" : "")
end

"The right-hand side of an operation."
function formula(tape::Tape, operation::Operation)
    names = [name_of(tape, input) for input in operation.inputs]
    kind, numbers = operation.name, operation.numbers
    kind == "add" && return weighted(numbers[1], names[1]) * signed(numbers[2], names[2])
    kind == "multiply" && return "$(names[1]) .* $(names[2])"
    kind == "choose" && return "ifelse.($(names[1]) .!= 0, $(names[2]), $(names[3]))"
    kind == "linear" && return join(["$(names[2]) * $(names[1])"; names[3:end]], " .+ ")
    kind == "matrix" && return "reshape($(names[1]), $(shown(numbers[2])), $(shown(numbers[1])))'"
    kind == "move" && return moves(tape, operation, names)
    if kind == "largest"
        return operation.columns == 1 ?
            "maximum($(names[1]); dims = 1)" :
            "largest($(names[1]); groups = $(operation.columns))"
    end
    return function_formula(kind, only(names), map(shown, numbers), numbers)
end

weighted(factor, name) = factor == 1 ? name : factor == -1 ? "-$name" : "$(shown(factor)) .* $name"
signed(factor, name) = factor < 0 ? " .- " * weighted(-factor, name) : " .+ " * weighted(factor, name)

function function_formula(kind, x, texts, numbers)
    kind == "square" && return "$x .^ 2"
    kind == "power" && return "$x .^ $(numbers[1] < 0 ? "($(texts[1]))" : texts[1])"
    kind == "reciprocal" && return "1 ./ $x"
    kind == "affine" && return weighted(numbers[1], x) * (iszero(numbers[2]) ? "" : signed(numbers[2], "1"))
    kind == "greater" && return "$x .> $(texts[1])"
    kind == "at_least" && return "$x .>= $(texts[1])"
    kind == "equal" && return "$x .== $(texts[1])"
    kind == "softplus" && return "softplus.($x; beta = $(texts[1]), threshold = $(texts[2]))"
    kind == "elu" && return "$(numbers[2] == 1 ? "" : texts[2] * " .* ")elu.($x; alpha = $(texts[1]))"
    return "$kind.($(join([x; texts], ", ")))"
end

"A `move`: a slice, a sum, a concatenation, or columns one by one."
function moves(tape::Tape, operation::Operation, names)
    isempty(operation.runs) && return "zeros($(operation.columns))"
    parts, next, follows = String[], 0, true
    runs = sort(operation.runs; by = run -> run.to)
    for run in runs
        n = run.to_step == 0 ? 1 : run.count
        follows &= run.to == next && (run.to_step == 1 || n == 1)
        next += n
        push!(parts, part(tape, operation.inputs[run.input], names[run.input], run))
    end
    follows &= next == operation.columns
    follows && length(parts) == 1 && return only(parts)
    if !follows
        targets = [
            run.to_step == 0 || run.count == 1 ? "$(run.to + 1)" : places(run.to, run.to_step, run.count)
            for run in runs
        ]
        parts = ["[$target] += $text" for (target, text) in zip(targets, parts)]
    end
    more = length(parts) - MOST_PARTS
    more > 0 && (parts = [parts[1:MOST_PARTS]; "and $more more"])
    return follows ? "vcat($(join(parts, ", ")))" : "columns($(operation.columns); $(join(parts, ", ")))"
end

"What one run reads."
function part(tape::Tape, input, name, run::Run)
    own = columns_of(tape, input)
    run.step == 0 && run.count > 1 && return "repeat($(sliced(name, own, run.first, 1, 1)), $(run.count))"
    text = sliced(name, own, run.first, run.step, run.count)
    return run.to_step == 0 && run.count > 1 ? "sum($text; dims = 1)" : text
end

sliced(name, own, first, step, count) = first == 0 && (step == 1 || count == 1) && count == own ?
    name :
    "$name[$(places(first, step, count)), :]"

function places(first, step, count)
    last = first + (count - 1) * step
    return step == 1 || count == 1 ? "$(first + 1):$(last + 1)" : "$(first + 1):$step:$(last + 1)"
end

function columns_of(tape::Tape, input)
    input < 0 && return length(tape.constants[~input + 1])
    return input == TIME ? 1 : input == STATE ? tape.dim : tape.operations[input - 1].columns
end
