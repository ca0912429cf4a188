"""
    Bridge

What pynode's worker process calls, and nothing else: plain arrays and JSON text in and out, so that PyNODE itself needs
no Python. Arrays are the transposes of C-ordered numpy arrays: states `(dim, batch)`, trajectories
`(dim, batch, time)`. Results are written into the arrays that come first.
"""
module Bridge

using JSON: JSON
import ..PyNODE

const HELD = Dict{Int, Any}()
const LAST_HANDLE = Ref(0)

"[`PyNODE.versions`](@ref) as JSON."
versions() = JSON.json(PyNODE.versions())

"""
    solve!(ys, system, theta, y0, ts, probes, options, cancel)

Fills `ys` `(dim, batch, time)`. `system` and `options` are JSON objects (see [`PyNODE.system_from_spec`](@ref) and
[`PyNODE.method_from_options`](@ref)); `probes` `(dim, batch)`, or empty; `cancel` one byte that stops the solve when it is
not zero. With `"gradient": true` among the options the reply holds a `handle` for [`pullback!`](@ref).
"""
function solve!(ys, system, theta, y0, ts, probes, options, cancel)
    asked = JSON.parse(options)
    T = eltype(y0)
    s = PyNODE.system_from_spec(JSON.parse(system), size(y0, 2), probes, T)
    s.cancel = watched(cancel)
    gradient = asked["gradient"]
    method = PyNODE.method_from_options(asked)
    sol = PyNODE.solve_forward(s, Vector{T}(theta), Vector{T}(vec(y0)), Vector{Float64}(ts), method; gradient)
    copyto!(ys, sol.ys)
    handle = nothing
    if gradient && PyNODE.succeeded(sol.report)
        handle = LAST_HANDLE[] += 1
        HELD[handle] = sol
    end
    return reply(sol.report; handle)
end

"""
    pullback!(grad_y0, grad_theta, grad_ts, handle, times, cotangents, cancel)

Fills `grad_y0` `(dim, batch)`, `grad_theta` `(n_params,)` and, if `times` is not 0, `grad_ts` `(time,)` from `cotangents` dL/dys `(dim, batch, time)`; the handle
stays good until [`release`](@ref).
"""
function pullback!(grad_y0, grad_theta, grad_ts, handle, times, cotangents, cancel)
    sol = get(HELD, Int(handle), nothing)
    sol === nothing &&
        throw(PyNODE.InvalidArgument("handle", handle, "released, or of an earlier worker", "solve again"))
    sol.system.cancel = watched(cancel)
    T = eltype(sol.ys)
    columns = reshape(Array{T}(cotangents), :, length(sol.ts))
    found = PyNODE.pullback(sol, columns; times = times != 0)
    copyto!(grad_y0, found.by_y0)
    copyto!(grad_theta, found.by_theta)
    found.by_ts === nothing || copyto!(grad_ts, found.by_ts)
    return reply(found.report)
end

"Forgets a solution; a handle that is not known is no error."
function release(handle)
    delete!(HELD, Int(handle))
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
# fatou-ignore discouraged-function: the byte lies in Python's shared memory, which outlives the call
watched(cancel) = unsafe_wrap(Vector{UInt8}, Base.unsafe_convert(Ptr{UInt8}, cancel), 1)

number(x) = isfinite(x) ? x : nothing

function reply(r::PyNODE.SolveReport; handle = nothing)
    cost = Dict(
        "n_f" => r.work.n_f,
        "n_vjp" => r.work.n_vjp,
        "n_vjp_state" => r.work.by_state,
        "n_vjp_theta" => r.work.by_theta,
        "n_accepted" => r.n_accepted,
        "n_rejected" => r.n_rejected,
    )
    return JSON.json(Dict(
        "handle" => handle,
        "status" => r.status,
        "retcode" => r.retcode,
        "t" => number(r.t),
        "dt" => number(r.dt),
        "norm_f" => number(r.norm_f),
        "seconds" => r.seconds,
        "cost" => cost,
        "drift" => number(r.drift.value),
        "drift_t" => number(r.drift.t),
        "drift_sample" => r.drift.sample,
    ))
end

end
