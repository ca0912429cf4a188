# Opt-Disc: an adaptive solve, and the continuous adjoint by SciMLSensitivity.

const SOLVERS = Dict{String, Function}(
    "tsit5" => () -> Tsit5(),
    "vern7" => () -> Vern7(; lazy = Val(false)),
    "vern9" => () -> Vern9(; lazy = Val(false)),
    "auto" => () -> AutoTsit5(Rosenbrock23()),
)

const ADJOINTS = ("gauss", "interpolating", "quadrature", "backsolve")
const VJPS = ("handwritten", "reversediff", "zygote", "enzyme")

"""
    OptDisc(; solver = "tsit5", adjoint = "gauss", rtol = 1e-7, atol = 1e-9, adjoint_rtol = rtol, adjoint_atol = atol,
              vjp = "handwritten", checkpointing = true, max_steps = 100_000)

Optimise, then discretise: the continuous adjoint ODE, solved back in time by an adaptive solve of its own.

- `solver`: `"tsit5"`, `"vern7"`, `"vern9"`, or `"auto"`, which changes to Rosenbrock23 where the problem is stiff (on the
  way back only with `"gauss"` and `"quadrature"`, whose adjoint states do not hold the parameters);
- `adjoint`: `"gauss"` (needs least work for many parameters), `"interpolating"`, `"quadrature"` read the state from the
  forward solve's dense output; `"backsolve"` solves it backwards once more, with `checkpointing` anew from each output
  time (its memory does not grow with the number of steps, and it loses accuracy where the field is unstable in reversed
  time);
- `vjp`: the products of this package, or those of an AD system, to check them by (`"enzyme"` needs an Enzyme that
  supports this Julia).
"""
struct OptDisc
    solver::String
    adjoint::String
    vjp::String
    rtol::Float64
    atol::Float64
    adjoint_rtol::Float64
    adjoint_atol::Float64
    checkpointing::Bool
    max_steps::Int
end

function OptDisc(;
    solver = "tsit5",
    adjoint = "gauss",
    vjp = "handwritten",
    rtol = 1.0e-7,
    atol = 1.0e-9,
    adjoint_rtol = rtol,
    adjoint_atol = atol,
    checkpointing = true,
    max_steps = 100_000,
)
    for (argument, name, known) in (
            ("solver", solver, sort!(collect(keys(SOLVERS)))),
            ("adjoint", adjoint, ADJOINTS),
            ("vjp", vjp, VJPS),
        )
        name in known || throw(InvalidArgument(argument, name, "unknown", "use one of $(join(known, ", "))"))
    end
    for (argument, tol) in (
            ("rtol", rtol),
            ("atol", atol),
            ("adjoint_rtol", adjoint_rtol),
            ("adjoint_atol", adjoint_atol),
        )
        isfinite(tol) && tol > 0 || throw(InvalidArgument(argument, tol, "not a positive number", "use e.g. 1e-6"))
    end
    return OptDisc(solver, adjoint, vjp, rtol, atol, adjoint_rtol, adjoint_atol, checkpointing, max_steps)
end

"What [`solve_forward`](@ref) keeps for [`pullback`](@ref): SciML's solution `sol`, dense where a gradient is wanted."
struct AdaptiveSolution{T, S, O}
    system::S
    method::OptDisc
    theta::Vector{T}
    ts::Vector{Float64}
    ys::Matrix{T}
    sol::O
    dense::Bool
    report::SolveReport
end

"The ODE problem of `system` as SciML sees it; in place with our products, or with AD of the plain formulas."
function ode_problem(s::System, theta, y0, ts, vjp)
    span = (Float64(ts[1]), Float64(ts[end]))
    if vjp == "handwritten"
        f = ODEFunction{true, FullSpecialize}(
            (dy, y, p, t) -> s(dy, y, p, t);
            vjp = (Jv, v, y, p, t) -> vjp!(Jv, v, s, y, p, t),
            vjp_p = (Jv, v, y, p, t) -> vjp_theta!(Jv, v, s, y, p, t),
        )
        return ODEProblem(f, y0, span, theta)
    elseif vjp == "enzyme"
        f = ODEFunction{true, FullSpecialize}((dy, y, p, t) -> (dy .= slope_of(s, y, p, t); nothing))
        return ODEProblem(f, y0, span, theta)
    end
    function slope_counted(y, p, t)
        Zygote.ignore() do
            s.work.n_f += 1
        end
        return slope_of(s, y, p, t)
    end
    f = ODEFunction{false, FullSpecialize}(slope_counted)
    return ODEProblem(f, y0, span, theta)
end

"""
    StepWatch()

Follows the steps of a solve by two hooks that every solver calls and that no adjoint swallows: `isoutofdomain` once an
attempted step, `unstable_check` after an accepted one (but not after the last).
"""
mutable struct StepWatch
    attempts::Int
    accepted::Int
    t::Float64
    dt::Float64
    finite::Bool
end

StepWatch() = StepWatch(0, 0, NaN, NaN, true)

"""
    DriftWatch(s, ys, ts, rtol, atol)

Compares the state that a backsolve reconstructs with the stored one, `ys[:, j]` at `ts[j]`, whenever a step is tried that
ends at an output time; the last one that is tried there is the one that is accepted.
"""
struct DriftWatch{T}
    rows::Int
    ys::Matrix{T}
    ts::Vector{Float64}
    rtol::Float64
    atol::Float64
    drifts::Vector{Float64}
    samples::Vector{Int}
end

function DriftWatch(s::System{T}, ys, ts, rtol, atol) where {T}
    return DriftWatch{T}(rows(s), ys, ts, max(rtol, 4 * eps(T)), atol, zeros(length(ts)), ones(Int, length(ts)))
end

"Notes the drift of `u`, whose last entries are the state, where `t` is an output time."
function measure!(watch::DriftWatch, u, t)
    slack = 8 * eps(maximum(abs, watch.ts))
    j = findfirst(s -> abs(s - t) <= slack, watch.ts)
    j === nothing && return nothing
    stored = view(watch.ys, :, j)
    solved = view(u, (length(u) - length(stored) + 1):length(u))
    watch.drifts[j], watch.samples[j] = largest_drift(solved, stored, watch.rows, watch.rtol, watch.atol)
    return nothing
end

measure!(::Nothing, u, t) = nothing

"The largest drift of a sample (`n` entries each) and its number: a root mean square over atol + rtol times that of the state."
function largest_drift(solved, stored, n, rtol, atol)
    worst, sample = 0.0, 1
    for (k, first) in enumerate(1:n:length(stored))
        error, size = 0.0, 0.0
        for i in first:(first + n - 1)
            error += abs2(Float64(solved[i]) - Float64(stored[i]))
            size += abs2(Float64(stored[i]))
        end
        drift = sqrt(error / n) / (atol + rtol * sqrt(size / n))
        drift <= worst && continue
        worst, sample = isfinite(drift) ? drift : floatmax(Float64), k
    end
    return worst, sample
end

drift_of(::Nothing) = Drift()

function drift_of(watch::DriftWatch)
    j = argmax(watch.drifts)
    return Drift(watch.drifts[j], watch.ts[j], watch.samples[j])
end

"The keywords of `solve` that let `watch` follow it, and `drift` the state that a backsolve reconstructs."
function hooks(watch::StepWatch, drift = nothing)
    function attempted(u, p, t)
        watch.attempts += 1
        measure!(drift, u, Float64(t))
        return false
    end
    function accepted(dt, y, p, t)
        watch.accepted += 1
        watch.t, watch.dt = Float64(t), Float64(dt)
        watch.finite = all(isfinite, y)
        return !watch.finite
    end
    return (isoutofdomain = attempted, unstable_check = accepted)
end

function solve_forward(s::System{T}, theta, y0, ts, method::OptDisc; gradient = true) where {T}
    check_times(ts)
    check_theta(s.field, theta)
    begin!(s)
    th = Vector{T}(theta)
    prob = ode_problem(s, th, Vector{T}(y0), ts, method.vjp)
    # only a dense solution may be given to the adjoints: on a thinned one some of them are wrong without a word
    kept = gradient ?
        (dense = true, save_everystep = true) :
        (dense = false, save_everystep = false, saveat = Float64.(ts))
    watch = StepWatch()
    start = time_ns()
    # failures are told by the report, so the solver's own warnings would only repeat them
    sol = with_logger(NullLogger()) do
        solve(
            prob,
            SOLVERS[method.solver]();
            reltol = method.rtol,
            abstol = method.atol,
            maxiters = method.max_steps,
            hooks(watch)...,
            kept...,
        )
    end
    ys = fill(T(NaN), state_length(s), length(ts))
    if ReturnCode.Success == sol.retcode
        for (j, t) in enumerate(ts)
            ys[:, j] .= gradient ? sol(t) : sol.u[j]
        end
        ys[:, 1] .= y0
    end
    report = forward_report(s, sol, watch, ys, ts, th, start)
    return AdaptiveSolution(s, method, th, Vector{Float64}(ts), ys, sol, gradient, report)
end

# A step underflow arrives as `Unstable` as often as `DtLessThanMin`, so it is told from a blow-up by whether the state and
# the slope where it happened are finite.
function forward_report(s::System, sol, watch, ys, ts, theta, start)
    seconds, work, word, stats = seconds_since(start), s.work, string(sol.retcode), sol.stats
    if sol.retcode == ReturnCode.Success && all(isfinite, ys)
        t, dt = Float64(ts[end]), watch.dt
        return SolveReport("SUCCESS", word, t, dt, NaN, work, stats.naccept, stats.nreject, seconds)
    end
    y = sol.u[end]
    s.work = Work() # the look at where it stopped is no part of its cost
    slope = slope_of(s, y, theta, sol.t[end])
    s.work = work
    finite = watch.finite && all(isfinite, y) && all(isfinite, slope)
    status = if !finite || sol.retcode == ReturnCode.Success
        "NON_FINITE"
    else
        sol.retcode in (ReturnCode.MaxIters, ReturnCode.MaxTime) ? "MAX_STEPS" : "STEP_UNDERFLOW"
    end
    t = isnan(watch.t) ? Float64(ts[1]) : watch.t
    return SolveReport(status, word, t, watch.dt, norm(slope), work, stats.naccept, stats.nreject, seconds)
end

seconds_since(start) = (time_ns() - start) / 1.0e9

# A stiff solver needs the Jacobian of what it solves; with the parameters' part in the state (interpolating, backsolve) that
# would be a dense matrix of n_params squared.
function backward_solver(method::OptDisc)
    stiff = method.solver == "auto" && method.adjoint in ("interpolating", "backsolve")
    return SOLVERS[stiff ? "tsit5" : method.solver]()
end

"The sensitivity algorithm of `method` in SciMLSensitivity's terms."
function sensealg(method::OptDisc)
    # with products of ours no AD is asked; ZygoteVJP stands here because it prepares nothing, where the default probes
    # every choice at each call
    vjp = if method.vjp == "reversediff"
        ReverseDiffVJP(true)
    elseif method.vjp == "enzyme"
        EnzymeVJP()
    else
        ZygoteVJP()
    end
    method.adjoint == "gauss" && return GaussAdjoint(; autojacvec = vjp)
    method.adjoint == "interpolating" && return InterpolatingAdjoint(; autojacvec = vjp)
    method.adjoint == "backsolve" && return BacksolveAdjoint(; autojacvec = vjp, checkpointing = method.checkpointing)
    return QuadratureAdjoint(; autojacvec = vjp, abstol = method.adjoint_atol, reltol = method.adjoint_rtol)
end

function pullback(sol::AdaptiveSolution{T}, cotangents; times = false) where {T}
    s, method, ts = sol.system, sol.method, sol.ts
    sol.dense ||
        throw(InvalidArgument("solution", "solved with gradient = false", "not dense", "solve with gradient = true"))
    begin!(s)
    watch = StepWatch()
    reached = Ref(length(ts) + 1) # the earliest output time whose cotangent was asked for
    function dg(out, y, p, t, i)
        reached[] = min(reached[], i)
        out .= view(cotangents, :, i)
        return nothing
    end
    backsolve = method.adjoint == "backsolve"
    anew = backsolve && method.checkpointing ? (checkpoints = ts,) : (;)
    rtol, atol = max(method.rtol, method.adjoint_rtol), max(method.atol, method.adjoint_atol)
    drift = backsolve ? DriftWatch(s, sol.ys, ts, rtol, atol) : nothing
    start = time_ns()
    by_y0, by_theta = with_logger(NullLogger()) do
        adjoint_sensitivities(
            sol.sol,
            backward_solver(method);
            t = ts,
            dgdu_discrete = dg,
            sensealg = sensealg(method),
            reltol = method.adjoint_rtol,
            abstol = method.adjoint_atol,
            maxiters = method.max_steps,
            hooks(watch, drift)...,
            anew...,
        )
    end
    report = backward_report(s, watch, drift, method.max_steps, reached[] == 1, by_y0, by_theta, ts, start)
    adjoint = Vector{T}(vec(by_y0))
    by_ts = times ? time_gradient(sol, cotangents, adjoint) : nothing
    return (by_y0 = adjoint, by_theta = Vector{T}(vec(by_theta)), by_ts = by_ts, report = report)
end

# Moving a later output time moves its state along f; moving ts[1] moves the whole trajectory against it.
function time_gradient(sol::AdaptiveSolution, cotangents, adjoint)
    s, ts = sol.system, sol.ts
    slopes = [uncounted(() -> slope_of(s, sol.ys[:, j], sol.theta, ts[j]), s) for j in eachindex(ts)]
    by_ts = Float64[dot(view(cotangents, :, j), slopes[j]) for j in eachindex(ts)]
    by_ts[1] = -dot(adjoint .- view(cotangents, :, 1), slopes[1])
    return by_ts
end

# SciMLSensitivity drops the return code of the backward solve, so that a solve which gave up half way would pass for a
# gradient. The cotangent at ts[1] is the last thing that a whole one reads.
function backward_report(s::System, watch, drift, max_steps, whole, by_y0, by_theta, ts, start)
    seconds, finite = seconds_since(start), all(isfinite, by_y0) && all(isfinite, by_theta)
    if whole && finite
        accepted = watch.accepted + 1 # the last step is followed by no check
        rejected = max(watch.attempts - accepted, 0)
        t, lost = Float64(ts[1]), drift_of(drift)
        return SolveReport("SUCCESS", "Success", t, watch.dt, NaN, s.work, accepted, rejected, seconds, lost)
    end
    status = if whole || !watch.finite
        "NON_FINITE"
    else
        watch.attempts >= max_steps ? "MAX_STEPS" : "STEP_UNDERFLOW"
    end
    t = isnan(watch.t) ? Float64(ts[end]) : watch.t
    rejected = max(watch.attempts - watch.accepted, 0)
    lost = drift_of(drift)
    return SolveReport(status, "dropped", t, watch.dt, NaN, s.work, watch.accepted, rejected, seconds, lost)
end
