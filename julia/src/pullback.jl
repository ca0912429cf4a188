# Opt-Disc on the way back: the continuous adjoints of SciMLSensitivity, over one piece of the solution after the other.

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
    # a stiff solver's integral is taken here, see `stiff_quadrature`
    ours = method.solver == "auto" && method.vjp == "handwritten"
    method.adjoint == "gauss" && !ours && return GaussAdjoint(; autojacvec = vjp)
    method.adjoint == "interpolating" && return InterpolatingAdjoint(; autojacvec = vjp)
    method.adjoint == "backsolve" && return BacksolveAdjoint(; autojacvec = vjp, checkpointing = method.checkpointing)
    return QuadratureAdjoint(; autojacvec = vjp, abstol = method.adjoint_atol, reltol = method.adjoint_rtol)
end

"What the backward solves of the pieces of one pullback share: what they cost, and whether one gave up."
mutable struct Backward
    attempts::Int
    accepted::Int
    watch::StepWatch
    whole::Bool
end

function pullback(sol::AdaptiveSolution{T}, cotangents; times = false) where {T}
    s, method, ts = sol.system, sol.method, sol.ts
    sol.differentiable ||
        throw(InvalidArgument("solution", "solved with gradient = false", "not dense", "solve with gradient = true"))
    check_cotangents(sol, cotangents)
    begin!(s)
    rtol, atol = max(method.rtol, method.adjoint_rtol), max(method.atol, method.adjoint_atol)
    drift = method.adjoint == "backsolve" ? DriftWatch(s, sol.ys, ts, rtol, atol) : nothing
    back, start = Backward(0, 0, StepWatch(), true), time_ns()
    adjoint, by_theta = zeros(T, state_length(s)), zeros(T, length(sol.theta))
    for piece in reverse(eachindex(sol.restarts))
        pull_piece!(adjoint, by_theta, back, sol, piece, cotangents, drift)
        back.whole || break
    end
    report = backward_report(s, back, drift, method.max_steps, adjoint, by_theta, ts, start)
    by_ts = times ? time_gradient(sol, cotangents, adjoint) : nothing
    return (by_y0 = adjoint, by_theta = by_theta, by_ts = by_ts, report = report)
end

"""
From `adjoint` at the end of a piece to `adjoint` at its start, adding the cotangents of the outputs in between; adds the
piece's part of `by_theta`.
"""
function pull_piece!(adjoint, by_theta, back, sol::AdaptiveSolution, piece, cotangents, drift)
    s, method = sol.system, sol.method
    start = sol.restarts[piece].t
    stop = piece == lastindex(sol.restarts) ? sol.ts[end] : sol.restarts[piece + 1].t
    times, outputs = times_of_piece(sol.ts, start, stop, piece == 1)
    watch, reached = backward_watch(s, method), Ref(length(times) + 1) # the earliest time whose cotangent was asked for
    later = copy(adjoint)
    function dg(out, y, p, t, i)
        reached[] = min(reached[], i)
        outputs[i] == 0 ? fill!(out, 0) : (out .= view(cotangents, :, outputs[i]))
        i == length(times) && (out .+= later)
        return nothing
    end
    options = (
        reltol = method.adjoint_rtol,
        abstol = method.adjoint_atol,
        maxiters = max(method.max_steps - back.attempts, 1),
        hooks(watch, drift)...,
    )
    forward = piece == lastindex(sol.restarts) ? sol.sol : solve_again(sol, piece, stop)
    stops = if method.adjoint == "backsolve" && method.checkpointing
        (checkpoints = times,) # from which the state is solved anew
    elseif method.adjoint == "gauss"
        (tstops = stops_of_short_steps(forward.t),)
    else
        (;)
    end
    by_y0, by_p, accepted = with_logger(NullLogger()) do
        solver, problem = solver_of(method), (t = times, dgdu_discrete = dg, sensealg = sensealg(method))
        if method.solver == "auto" && method.vjp == "handwritten"
            stiff = method.adjoint == "interpolating" ? stiff_interpolating : stiff_quadrature
            Base.invokelatest(stiff, forward, sol.theta, solver; problem..., options...)
        else
            gradients = Base.invokelatest(adjoint_sensitivities, forward, solver; problem..., options..., stops...)
            (gradients..., watch.accepted + 1) # the last step is followed by no check
        end
    end
    adjoint .= vec(by_y0)
    by_theta .+= vec(by_p)
    back.watch = watch
    back.whole = reached[] == 1
    back.attempts += watch.attempts
    back.accepted += back.whole ? accepted : watch.accepted
    return nothing
end

# only a quadrature keeps its backward solve, and SciMLSensitivity would integrate over one that has stopped half way
function backward_watch(s::System, method)
    keeps = method.adjoint == "quadrature" && !(method.solver == "auto" && method.vjp == "handwritten")
    keeps || return StepWatch()
    bytes = budget(method)
    problem = "the adjoint's solution, which it keeps, would take more than the budget of $(gigabytes(bytes))"
    return StepWatch(
        3 * steps_within(bytes, s, method), # what the state's solution leaves of the budget
        InvalidArgument("adjoint", "quadrature", problem, "use adjoint = gauss, which keeps none, or smaller batches"),
    )
end

"""
The times at which the adjoint of a piece stops, in the order of `ts`: its start, the outputs after it, its end; and the
number of the output at each, or 0. An output belongs to the piece that ends with it or holds it.
"""
function times_of_piece(ts, start, stop, first)
    forwards = ts[end] > ts[1]
    inside(t) = forwards ? start < t <= stop : stop <= t < start
    outputs = findall(inside, ts)
    times = [start; ts[outputs]]
    pushfirst!(outputs, first ? 1 : 0)
    times[end] == stop || (push!(times, stop); push!(outputs, 0))
    return times, outputs
end

# A gauss adjoint integrates by the parameters within each of the adjoint's steps, which know nothing of that integral's error.
# Where the field jumps and the adjoint does not, the steps of the state tell of it.
"The ends of all steps between the times `ts` that are shorter than a tenth of the median one."
function stops_of_short_steps(ts)
    length(ts) > 2 || return similar(ts, 0)
    steps = abs.(diff(ts))
    short = findall(<(median(steps) / 10), steps)
    return ts[sort!(unique!([short; short .+ 1]))]
end

function solve_again(sol::AdaptiveSolution, piece, stop)
    GC.gc() # it takes the memory of the piece before
    again = solve_piece(sol.system, sol.theta, sol.restarts[piece], stop, sol.method, StepWatch())
    again.retcode == ReturnCode.Success && return again
    error("the piece from t = $(sol.restarts[piece].t) could be solved once and not again: $(again.retcode)")
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
# gradient. The cotangent at the start is the last thing that a whole one reads.
function backward_report(s::System, back, drift, max_steps, by_y0, by_theta, ts, start)
    seconds, finite, watch = seconds_since(start), all(isfinite, by_y0) && all(isfinite, by_theta), back.watch
    rejected, lost = max(back.attempts - back.accepted, 0), drift_of(drift)
    if back.whole && finite
        t = Float64(ts[1])
        return SolveReport("SUCCESS", "Success", t, watch.dt, NaN, s.work, back.accepted, rejected, seconds, lost)
    end
    status = if back.whole || !watch.finite
        "NON_FINITE"
    else
        back.attempts >= max_steps ? "MAX_STEPS" : "STEP_UNDERFLOW"
    end
    t = isnan(watch.t) ? Float64(ts[end]) : watch.t
    return SolveReport(status, "dropped", t, watch.dt, NaN, s.work, back.accepted, rejected, seconds, lost)
end
