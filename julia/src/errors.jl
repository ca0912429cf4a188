# Every error that this package raises on purpose: each says what was wrong, and what helps.

"""
    InvalidArgument(argument, value, problem, remedy)

A mistake in what was asked for, found before work starts.
"""
struct InvalidArgument <: Exception
    argument::String
    value::String
    problem::String
    remedy::String

    function InvalidArgument(argument, value, problem, remedy)
        return new(string(argument), string(value), string(problem), string(remedy))
    end
end

function Base.showerror(io::IO, e::InvalidArgument)
    return print(io, e.argument, " = ", e.value, ": ", e.problem, "; ", e.remedy)
end

"Throws [`InvalidArgument`](@ref) unless `x` has `n` numbers."
function check_length(argument, x, n)
    length(x) == n && return nothing
    throw(InvalidArgument(argument, "length $(length(x))", "wrong length", "give $n numbers"))
end

"""
    Cancelled()

The caller raised the cancel flag of a [`System`](@ref) while it was being solved.
"""
struct Cancelled <: Exception end

Base.showerror(io::IO, ::Cancelled) = print(io, "the solve was cancelled")

"""
    SolveFailed(report)

A solve ended before its last time; `report` is its [`SolveReport`](@ref).
"""
struct SolveFailed{R} <: Exception
    report::R
end

function Base.showerror(io::IO, e::SolveFailed)
    r = e.report
    return print(io, "the solve failed at t = ", r.t, ": ", r.status, " (", r.retcode, ")")
end
