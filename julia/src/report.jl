# How a solve ended and what it cost.

"""
    Drift(value, t, sample)

How far the state that a backsolve reconstructs left the stored one, in units of the tolerances: the largest over output
times and samples, with the time and the number of the sample. `value` is NaN where nothing is solved backwards.
"""
struct Drift
    value::Float64
    t::Float64
    sample::Int
end

Drift() = Drift(NaN, NaN, 0)

"""
    SolveReport

`status` is `"SUCCESS"`, `"MAX_STEPS"`, `"STEP_UNDERFLOW"` or `"NON_FINITE"`, `retcode` the solver's own word; `t` the time
reached, `dt` the step tried there, `norm_f` the 2-norm of f there; `work` what was counted; steps accepted and rejected;
`seconds` of wall clock; `drift` what a backsolve lost (see [`Drift`](@ref)).
"""
struct SolveReport
    status::String
    retcode::String
    t::Float64
    dt::Float64
    norm_f::Float64
    work::Work
    n_accepted::Int
    n_rejected::Int
    seconds::Float64
    drift::Drift
end

function SolveReport(status, retcode, t, dt, norm_f, work, n_accepted, n_rejected, seconds)
    return SolveReport(status, retcode, t, dt, norm_f, work, n_accepted, n_rejected, seconds, Drift())
end

succeeded(report::SolveReport) = report.status == "SUCCESS"

"A report of success, or of a state that is not finite."
function plain_report(finite::Bool, t, dt, work, steps, seconds)
    status = finite ? "SUCCESS" : "NON_FINITE"
    return SolveReport(status, finite ? "Success" : "Unstable", t, dt, NaN, work, steps, 0, seconds)
end

"""
    check_times(ts)

Throws [`InvalidArgument`](@ref) unless `ts` holds two or more finite, strictly monotone times.
"""
function check_times(ts)
    length(ts) >= 2 ||
        throw(InvalidArgument("ts", ts, "a solve needs at least two times", "pass [t_start, ..., t_end]"))
    all(isfinite, ts) || throw(InvalidArgument("ts", ts, "not finite", "remove NaN and infinite times"))
    gaps = diff(ts)
    all(>(0), gaps) || all(<(0), gaps) || throw(InvalidArgument("ts", ts, "not strictly monotone", "sort the times"))
    return nothing
end
