"""
    Bridge

What pynode's worker process calls, and nothing else: plain arrays and JSON text in and out, so that PyNODE itself needs
no Python. Arrays are the transposes of C-ordered numpy arrays: states `(dim, batch)`, trajectories
`(dim, batch, time)`. Results are written into the arrays that come first.
"""
module Bridge

using JSON: JSON
import ..PyNODE
using ..PyNODE: System

"What a solve kept for its gradient, with the key under which its system can be used again."
const HELD = Dict{Int, Any}()
const LAST_HANDLE = Ref(0)

"Systems of ended solves with their keys, the last used one first: their buffers are there already."
const IDLE = Pair{Any, System}[]
const MOST_IDLE = 4

"Length of the states above which building a system costs nothing beside its solve, but keeping it costs memory."
const LONGEST_IDLE = 100_000

"[`PyNODE.versions`](@ref) as JSON."
versions() = JSON.json(PyNODE.versions())

"""
    PreparedSolve(ys, report, system, theta, y0, ts, probes, options, cancel)

A solve that is asked for again and again: called, it fills `ys` `(dim, batch, time)` from what the arrays hold then.
`system` and `options` are JSON objects (see [`PyNODE.system_from_spec`](@ref) and [`PyNODE.method_from_options`](@ref));
`probes` `(dim, batch)`, or empty; `cancel` one byte that stops the solve when it is not zero.

A success fills `report` (see [`REPORT`](@ref)) and returns nothing; a failure, or where `report` is empty, returns JSON.
With `"gradient": true` among the options the report holds a `handle` for [`PreparedPullback`](@ref).
"""
struct PreparedSolve{T, M}
    ys::Array{T, 3}
    report::VecOrMat{Float64}
    system::String
    spec::Any
    theta::Vector{T}
    y0::Matrix{T}
    ts::Vector{Float64}
    probes::Matrix{T}
    method::M
    gradient::Bool
    cancel::Vector{UInt8}
end

function prepared_solve(ys, report, system, theta, y0, ts, probes, options, cancel)
    asked = JSON.parse(options)
    method = PyNODE.method_from_options(asked)
    given = Matrix{eltype(y0)}(undef, 0, 0)
    return PreparedSolve(
        ys,
        report,
        String(system),
        JSON.parse(system),
        theta,
        y0,
        ts,
        isempty(probes) ? given : probes,
        method,
        asked["gradient"]::Bool,
        watched(cancel),
    )
end

function (p::PreparedSolve{T})() where {T}
    key = (p.system, size(p.y0, 2), T)
    s = system_of(p, key)
    s.cancel = p.cancel
    # copies, since the solution outlives what the shared arrays hold now
    sol = PyNODE.solve_forward(s, copy(p.theta), vec(copy(p.y0)), copy(p.ts), p.method; gradient = p.gradient)
    copyto!(p.ys, sol.ys)
    handle = 0
    if p.gradient && PyNODE.succeeded(sol.report)
        handle = LAST_HANDLE[] += 1
        HELD[handle] = (sol, key)
    else
        keep_idle(s, key)
    end
    return answer!(p.report, sol.report, handle)
end

"""
    PreparedPullback(grad_y0, grad_theta, grad_ts, report, cotangents, cancel)

Called with a `handle` and `times`, fills `grad_y0` `(dim, batch)`, `grad_theta` `(n_params,)` and, if `times` is not 0,
`grad_ts` `(time,)` from `cotangents` dL/dys `(dim, batch, time)`; the handle stays good until [`release`](@ref). Answers
as a [`PreparedSolve`](@ref) does.
"""
struct PreparedPullback{T}
    grad_y0::Matrix{T}
    grad_theta::Vector{T}
    grad_ts::Vector{Float64}
    report::VecOrMat{Float64}
    cotangents::Array{T, 3}
    cancel::Vector{UInt8}
end

function prepared_pullback(grad_y0, grad_theta, grad_ts, report, cotangents, cancel)
    return PreparedPullback(grad_y0, grad_theta, grad_ts, report, cotangents, watched(cancel))
end

function (p::PreparedPullback{T})(handle, times) where {T}
    sol, _ = get(HELD, Int(handle), (nothing, nothing))
    sol === nothing &&
        throw(PyNODE.InvalidArgument("handle", handle, "released, or of an earlier worker", "solve again"))
    sol.system.cancel = p.cancel
    columns = reshape(p.cotangents, :, length(sol.ts))
    gradients = PyNODE.pullback(sol, columns; times = times != 0)
    copyto!(p.grad_y0, gradients.by_y0)
    copyto!(p.grad_theta, gradients.by_theta)
    gradients.by_ts === nothing || copyto!(p.grad_ts, gradients.by_ts)
    return answer!(p.report, gradients.report, 0)
end

"A system for the solve `p`: an idle one, or else a new one."
function system_of(p::PreparedSolve{T}, key) where {T}
    k = findfirst(idle -> first(idle) == key, IDLE)
    k === nothing && return PyNODE.system_from_spec(p.spec, size(p.y0, 2), p.probes, T)
    s = last(popat!(IDLE, k))
    s.flow === nothing || s.flow.exact || renew_probes!(s, p.probes)
    return s
end

function renew_probes!(s::System, probes)
    size(probes) == size(s.V) && return copyto!(s.V, probes)
    throw(PyNODE.InvalidArgument("probes", size(probes), "wrong shape", "one probe a sample: $(size(s.V))"))
end

"Lets `s` be used again by a solve of the same `key`."
function keep_idle(s::System, key)
    PyNODE.state_length(s) <= LONGEST_IDLE || return nothing
    pushfirst!(IDLE, key => s)
    length(IDLE) > MOST_IDLE && pop!(IDLE)
    return nothing
end

"Forgets a solution; a handle that is not known is no error."
function release(handle)
    sol, key = pop!(HELD, Int(handle), (nothing, nothing))
    sol === nothing || keep_idle(sol.system, key)
    return nothing
end

"One right-hand side: `dy` `(dim, batch)` at time `t`."
function evaluate!(dy, system, theta, t, y, probes)
    T = eltype(y)
    s = PyNODE.system_from_spec(JSON.parse(system), size(y, 2), probes, T)
    out = zeros(T, length(y))
    s(out, Vector{T}(vec(y)), Vector{T}(theta), Float64(t))
    copyto!(dy, out)
    return nothing
end

"""
    train(problem, cancel)

A training loop inside Julia. `problem` is a JSON object: `system`, `theta`, `y0`, `ts`, `data` (rows = times), `options`,
`iterations`, `learning_rate`; the reply holds the records and the last theta. `cancel` is one byte that stops it.
"""
function train(problem, cancel)
    asked = JSON.parse(problem)
    y0, ts = Float64.(asked["y0"]), Float64.(asked["ts"])
    data = reduce(hcat, [Float64.(row) for row in asked["data"]])
    spec = asked["system"]
    s = PyNODE.system_from_spec(spec, length(y0) ÷ PyNODE.rows_of(spec), zeros(0, 0), Float64)
    s.cancel = watched(cancel)
    done = PyNODE.train(
        s,
        Float64.(asked["theta"]),
        y0,
        ts,
        data,
        PyNODE.method_from_options(asked["options"]);
        iterations = asked["iterations"],
        learning_rate = asked["learning_rate"],
    )
    records = [Dict(string(k) => v for (k, v) in pairs(r)) for r in done.iterations]
    return JSON.json(Dict("iterations" => records, "theta" => done.theta, "warmup_seconds" => done.warmup_seconds))
end

"The byte that Python sets to stop a solve, as memory that costs nothing to look at."
watched(cancel::Vector{UInt8}) = cancel
# fatou-ignore discouraged-function: the byte lies in Python's shared memory, which outlives the call
watched(cancel) = unsafe_wrap(Vector{UInt8}, Base.unsafe_convert(Ptr{UInt8}, cancel), 1)

"""
    REPORT

The entries of the array in which a solve that succeeded is reported; NaN where there is no such number.
"""
const REPORT = (
    "handle",
    "n_f",
    "n_vjp",
    "n_vjp_state",
    "n_vjp_theta",
    "n_accepted",
    "n_rejected",
    "seconds",
    "t",
    "dt",
    "norm_f",
    "drift",
    "drift_t",
    "drift_sample",
)

"Writes a success into `report` and returns nothing, or returns JSON text."
function answer!(report, r::PyNODE.SolveReport, handle)
    values = (
        handle,
        r.work.n_f,
        r.work.n_vjp,
        r.work.by_state,
        r.work.by_theta,
        r.n_accepted,
        r.n_rejected,
        r.seconds,
        r.t,
        r.dt,
        r.norm_f,
        r.drift.value,
        r.drift.t,
        r.drift.sample,
    )
    if !isempty(report) && PyNODE.succeeded(r)
        for (k, value) in enumerate(map(Float64, values))
            report[k] = isfinite(value) ? value : NaN
        end
        return nothing
    end
    entries = Dict{String, Any}(name => isfinite(value) ? value : nothing for (name, value) in zip(REPORT, values))
    cost = Dict(name => pop!(entries, name) for name in REPORT[2:7])
    entries["handle"] = handle == 0 ? nothing : handle
    return JSON.json(merge(entries, Dict("status" => r.status, "retcode" => r.retcode, "cost" => cost)))
end

end
