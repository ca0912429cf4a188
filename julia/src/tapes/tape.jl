# A vector field as a tape, which is plain data: the form that pynode/tapes/tape.py has after its preparation.

"""
    Tape(architecture, dim, slots, constants, operations, output)

A vector field on states `(dim, batch)` as a list of operations on registers; theta holds the `slots` one after the
other, each row by row. All models are this one type, so that what works on it is compiled once. `architecture` names
what wrote it. Throws [`InvalidArgument`](@ref) for operations that don't fit together.
"""
struct Tape <: Field
    architecture::String
    dim::Int
    slots::Vector{Slot}
    constants::Vector{Constant}
    operations::Vector{Operation}
    output::Int
    program::Program

    function Tape(architecture, dim, slots, constants, operations, output)
        check_tape(dim, slots, constants, operations, output)
        program = lower(dim, slots, constants, operations, output)
        return new(architecture, dim, slots, constants, operations, output, program)
    end
end

state_dim(tape::Tape) = tape.dim
n_params(tape::Tape) = tape.program.n_params

"What wrote the tape: an architecture, or \"tape\" for a module of the user."
name(tape::Tape) = tape.architecture

Base.show(io::IO, tape::Tape) = print(
    io,
    name(tape),
    " on states of ",
    tape.dim,
    ": ",
    length(tape.operations),
    " operations, ",
    n_params(tape),
    " parameters",
)

# --- from JSON -------------------------------------------------------------------------------------------------------

FIELDS["tape"] = spec -> tape_from_spec(spec)

"The tape that Python's `Tape.to_json` wrote, after its preparation: each constant is a slot of its own."
function tape_from_spec(spec::AbstractDict)
    try
        isempty(spec["preparation"]) ||
            throw(InvalidArgument(
                "preparation",
                "$(length(spec["preparation"])) operators of torch",
                "only torch can run them",
                "write the case with `crosscheck`, which runs them first",
            ))
        slots = [slot_from_spec(x) for key in ("parameters", "buffers") for x in spec[key]]
        constants = [Constant(x["value"] + 1, Int.(x["shape"]), get(x, "transposed", false)) for x in spec["constants"]]
        operations = [operation_from_spec(x) for x in spec["operations"]]
        return Tape("tape", Int(spec["dim"]), slots, constants, operations, Int(spec["output"]))
    catch error
        error isa Union{KeyError, MethodError, TypeError, InexactError, ArgumentError, BoundsError} || rethrow()
        throw(InvalidArgument("field", "tape", "no description of a tape ($error)", "use what to_json has written"))
    end
end

function slot_from_spec(spec)
    fan = get(spec, "fan", nothing)
    return Slot(spec["name"], Int.(spec["shape"]), fan === nothing ? nothing : (Int(fan[1]), Int(fan[2])))
end

function operation_from_spec(spec)
    runs = [Run(run[1] + 1, run[2], run[3], run[4], run[5], run[6]) for run in spec["runs"]]
    numbers = Float64[number_from_spec(x) for x in spec["numbers"]]
    return Operation(spec["name"], Int.(spec["inputs"]), Int(spec["columns"]), numbers, runs)
end

"A number, which may be a string where JSON has none: \"inf\", \"-inf\", \"nan\"."
number_from_spec(x::Real) = Float64(x)
number_from_spec(x::AbstractString) = parse(Float64, x)
