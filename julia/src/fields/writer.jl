# How an architecture writes its tape.

"""
    TapeWriter(architecture, dim)

A tape that is being written: `parameter!` adds a slot, `operation!` an operation; both return what later operations take
as an input. `TIME` and `STATE` are the inputs that are there from the start; `Tape(writer, output)` is the tape.
"""
struct TapeWriter
    architecture::String
    dim::Int
    slots::Vector{Slot}
    constants::Vector{Constant}
    operations::Vector{Operation}
end

TapeWriter(architecture, dim) = TapeWriter(architecture, dim, Slot[], Constant[], Operation[])

Tape(w::TapeWriter, output) = Tape(w.architecture, w.dim, w.slots, w.constants, w.operations, output)

"A new tensor in theta: a row, or a matrix (out, in); `fan` (in, out) for Glorot."
function parameter!(w::TapeWriter, name, shape...; fan = nothing)
    push!(w.slots, Slot(name, collect(Int, shape), fan))
    push!(w.constants, Constant(length(w.slots), collect(Int, shape), false))
    return -length(w.constants) # ~i for constant i, counted from 0
end

weight!(w::TapeWriter, name, n_out, n_in) = parameter!(w, name, n_out, n_in; fan = (n_in, n_out))
time_weight!(w::TapeWriter, name, n_out) = parameter!(w, name, n_out; fan = (1, n_out))

"The transpose of a matrix that `parameter!` has added."
function transposed!(w::TapeWriter, matrix)
    constant = w.constants[-matrix]
    push!(w.constants, Constant(constant.slot, reverse(constant.shape), !constant.transposed))
    return -length(w.constants)
end

function operation!(w::TapeWriter, name, inputs, columns; numbers = Float64[], runs = Run[])
    push!(w.operations, Operation(name, collect(Int, inputs), columns, collect(Float64, numbers), runs))
    return length(w.operations) + 1
end

"An activation elementwise."
function operation!(w::TapeWriter, f::UnaryFunction, x, columns)
    kind = typeof(f)
    name = first(name for (name, (other, _)) in FUNCTIONS if kind <: other)
    return operation!(w, name, [x], columns; numbers = [Float64(getfield(f, k)) for k in 1:fieldcount(kind)])
end

"Checks the sizes of layers, as integers."
function checked_widths(widths)
    fits = length(widths) >= 2 && all(n -> n isa Integer && n >= 1, widths) && first(widths) == last(widths)
    fits && return collect(Int, widths)
    remedy = "give positive integers that begin and end with the state's dimension"
    throw(InvalidArgument("widths", widths, "no sizes of layers", remedy))
end
