# A tape in plain array algebra, without mutation: for duals, tracked arrays and whatever else AD systems work with.
#
# It works on the operations themselves, not on the program made of them, and so checks that too.

"""
    tangents(tape, theta, t, Y, V)

`f` at `Y` `(dim, batch)` and its Jacobian times `V` `(dim, batch * k)` or `nothing`; allocates, numbers of any type.
"""
function tangents(tape::Tape, theta, t, Y, V)
    operations = tape.operations
    starts = unseen(() -> slot_starts(tape.slots))
    # the one list of arrays that Zygote lets be filled
    values = Zygote.Buffer(Vector{Any}(undef, length(operations) + 2))
    pushed = Zygote.Buffer(Vector{Any}(undef, length(operations) + 2))
    values[1], pushed[1] = fill(t, 1, 1), nothing
    values[2], pushed[2] = Y, V
    for i in eachindex(operations)
        operation = operations[i]
        inputs = read_inputs(j -> constant_at(tape, theta, starts, ~j + 1), values, operation.inputs, 1)
        before = read_inputs(_ -> nothing, pushed, operation.inputs, 1)
        values[i + 2] = plain_value(operation, inputs)
        moves = V !== nothing && unseen(() -> any(x -> x !== nothing, before))
        pushed[i + 2] = moves ?
            widened(plain_tangent(operation, inputs, before, values[i + 2]), operation.columns) :
            nothing
    end
    out = tape.output + 1
    slope = settled(alike(values[out], Y), theta, t, Y)
    V === nothing && return slope, nothing
    return slope, settled(pushed[out] === nothing ? zero.(V) : alike(pushed[out], V), theta, t, Y)
end

"""
What `registers` hold for the inputs from number `k` on, and `constant(j)` for those that are constants; a tuple, because
Zygote does not let a closure read a list that is being filled.
"""
function read_inputs(constant, registers, inputs, k)
    k > length(inputs) && return ()
    j = inputs[k]
    return (j < 0 ? constant(j) : registers[j + 1], read_inputs(constant, registers, inputs, k + 1)...)
end

"The tangents of a result of `columns` rows, of which an input of a single row gave one."
widened(::Nothing, columns) = nothing
widened(x, columns) = spread(x, columns)

"What `work()` returns, of which AD systems see nothing."
unseen(work) = Zygote.ignore(work)

"`x` with the columns and samples of `like`."
alike(x, like) = size(x) == size(like) ? x : x .+ zero.(like)

# the compiler can't know what comes out of a list of arrays; of tracked numbers nobody can
const PlainNumber = Union{AbstractFloat, ForwardDiff.Dual}
settled(x, theta, t, Y) = x
function settled(x, theta::AbstractVector{<:PlainNumber}, t, Y::AbstractMatrix{<:PlainNumber})
    T = promote_type(eltype(theta), typeof(t), eltype(Y))
    return convert(Matrix{T}, x)::Matrix{T}
end

"Where theta holds each slot: how many numbers stand before."
slot_starts(slots) = cumsum([0; [length(slot) for slot in slots]])

"A constant: a column, or a matrix (out, in)."
function constant_at(tape::Tape, theta, starts, i)
    constant = tape.constants[i]
    numbers = theta[unseen(() -> (starts[constant.slot] + 1):(starts[constant.slot] + length(constant)))]
    is_matrix(constant) || return reshape(numbers, length(numbers), 1)
    n_out, n_in = constant.shape
    return constant.transposed ? reshape(numbers, n_out, n_in) : transpose(reshape(numbers, n_in, n_out))
end

"The value of an operation from those of its inputs: (columns, batch), (columns, 1), or a matrix (out, in)."
function plain_value(operation::Operation, inputs)
    name, numbers = operation.name, operation.numbers
    f = unseen(() -> function_of(ValueOf, operation, inputs[1]))
    f === nothing || return spread(f.(inputs[1]), operation.columns)
    name == "add" && return numbers[1] .* inputs[1] .+ numbers[2] .* inputs[2]
    name == "multiply" && return inputs[1] .* inputs[2]
    name == "choose" && return chosen.(inputs[1], inputs[2], inputs[3])
    name == "move" && return moved(operation, inputs)
    name == "matrix" && return transpose(reshape(inputs[1], Int(numbers[2]), Int(numbers[1])))
    name == "largest" && return largest(operation, inputs[1])
    product = inputs[2] * inputs[1]
    return length(inputs) == 2 ? product : product .+ inputs[3]
end

"The tangents of an operation's value `a` from those of its inputs; `nothing` stands for zeros."
function plain_tangent(operation::Operation, inputs, pushed, a)
    name, numbers = operation.name, operation.numbers
    f = unseen(() -> function_of(SlopeOf, operation, inputs[1]))
    if f !== nothing
        return scaled(f.(spread(inputs[1], operation.columns), a), pushed[1])
    elseif name == "add"
        return total(scaled(numbers[1], pushed[1]), scaled(numbers[2], pushed[2]))
    elseif name == "multiply"
        return total(scaled(inputs[2], pushed[1]), scaled(inputs[1], pushed[2]))
    elseif name == "choose"
        pushed[2] === nothing && pushed[3] === nothing && return nothing
        x = pushed[2] === nothing ? zero.(pushed[3]) : pushed[2]
        y = pushed[3] === nothing ? zero.(pushed[2]) : pushed[3]
        return chosen.(repeated(inputs[1], x), x, y)
    elseif name == "move"
        return moved(operation, pushed)
    elseif name == "linear"
        linear = pushed[1] === nothing ? nothing : inputs[2] * pushed[1]
        return length(inputs) == 2 ? linear : total(linear, pushed[3])
    end
    return nothing # `largest` has the derivative 0
end

# Functions without data (of type `Function`), the numbers being part of their types: of others AD systems trace the branches for one argument,
# or try to look into the bits of a number.
struct ValueOf{Kind, Numbers} <: Function end
(::ValueOf{K, N})(x) where {K, N} = value(K(N...), x)

struct SlopeOf{Kind, Numbers} <: Function end
(::SlopeOf{K, N})(x, a) where {K, N} = slope(K(N...), x, a)

"The function of an operation as `ValueOf` or `SlopeOf`, its numbers no wider than those of `x`; nothing if it has none."
function function_of(what, operation::Operation, x)
    haskey(FUNCTION_CODES, operation.name) || return nothing
    kind, _ = FUNCTIONS[FUNCTION_CODES[operation.name]].second
    T = eltype(x) === Float32 ? Float32 : Float64
    return what{kind, Tuple(T.(operation.numbers))}()
end

"A single column as `columns` of them."
spread(x, columns) = size(x, 1) == columns ? x : repeat(x, columns, 1)

chosen(mask, x, y) = ifelse(mask != 0, x, y)

"A factor of tangents: a block of samples for each of them, unless it is the same for all samples."
repeated(factor::Number, pushed) = factor
repeated(factor, pushed) = size(factor, 2) in (1, size(pushed, 2)) ?
    factor :
    repeat(factor, 1, size(pushed, 2) ÷ size(factor, 2))

scaled(factor, ::Nothing) = nothing
scaled(factor, pushed) = repeated(factor, pushed) .* pushed

total(x, y) = x .+ y
total(x, ::Nothing) = x
total(::Nothing, y) = y
total(::Nothing, ::Nothing) = nothing

"The runs of a `move` as products with matrices of zeros and ones, which every AD system knows."
function moved(operation::Operation, sources)
    result = nothing
    for k in eachindex(operation.runs)
        run = operation.runs[k]
        source = sources[run.input]
        source === nothing && continue
        S = unseen(() -> selection(run, operation.columns, size(source, 1)))
        result = total(result, S * source)
    end
    result === nothing && !unseen(() -> any(isnothing, sources)) && return unseen(() -> zeros(operation.columns, 1))
    return result
end

function selection(run::Run, columns, own)
    S = zeros(Int, columns, own)
    for k in 0:(run.count - 1)
        S[1 + run.to + k * run.to_step, 1 + run.first + k * run.step] += 1
    end
    return S
end

"The largest of each group of adjoining columns, with the derivative 0."
function largest(operation::Operation, x)
    groups = operation.columns
    size_of_group = size(x, 1) ÷ groups
    result = nothing
    for i in 1:size_of_group
        S = unseen(() -> selection(Run(1, i - 1, size_of_group, 0, 1, groups), groups, size(x, 1)))
        part = held.(S * x)
        result = result === nothing ? part : max.(result, part)
    end
    return result
end

"`x` with the derivative 0."
held(x) = x
held(x::ForwardDiff.Dual) = oftype(x, held(ForwardDiff.value(x)))
