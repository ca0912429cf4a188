# Disc-Opt: a fixed-step scheme, and the exact gradient of what it computed.

"""
    DiscOpt(scheme; substeps = 1)

Discretise, then optimise: equal steps, `substeps` between two output times (one number, or one for each interval), and
the discrete adjoint of exactly these steps. All stages are kept for the way back.
"""
struct DiscOpt{N}
    scheme::Scheme
    substeps::N
end

DiscOpt(scheme::Scheme; substeps = 1) = DiscOpt(scheme, substeps)

function steps_between(method::DiscOpt, ts)
    each = method.substeps isa Integer ? fill(method.substeps, length(ts) - 1) : collect(Int, method.substeps)
    length(each) == length(ts) - 1 && all(>(0), each) && return each
    throw(InvalidArgument(
        "substeps",
        method.substeps,
        "not one positive integer an interval",
        "give $(length(ts) - 1)",
    ))
end

"What [`solve_forward`](@ref) keeps for [`pullback`](@ref): the stages `(length, stages, steps)` where a gradient is wanted."
struct DiscreteSolution{T, S}
    system::S
    method::DiscOpt
    theta::Vector{T}
    ts::Vector{Float64}
    ys::Matrix{T} # (length, times)
    stages::Array{T, 3}
    report::SolveReport
end

"""
    solve_forward(system, theta, y0, ts, method; gradient = true)

Solves from the flat state `y0` at `ts[1]` and returns a solution with `ys` `(length, times)` and a `report`; with
`gradient` it can be given to [`pullback`](@ref). A failed solve is told by `report.status`, not thrown.
"""
function solve_forward(s::System{T}, theta, y0, ts, method::DiscOpt; gradient = true) where {T}
    check_times(ts)
    check_theta(s.field, theta)
    check_length("y0", y0, state_length(s))
    counts = steps_between(method, ts)
    start = time_ns()
    begin!(s)
    n, m = state_length(s), n_stages(method.scheme)
    y, stage = Vector{T}(y0), zeros(T, n)
    K = zeros(T, n, m)
    ys = zeros(T, n, length(ts))
    stages = zeros(T, n, m, gradient ? sum(counts) : 0)
    th = Vector{T}(theta)
    ys[:, 1] .= y
    step = 0
    for j in 1:(length(ts) - 1)
        h = (ts[j + 1] - ts[j]) / counts[j]
        for i in 0:(counts[j] - 1)
            step += 1
            take_step!(
                y,
                stage,
                K,
                s,
                th,
                ts[j] + i * h,
                h,
                method.scheme,
                gradient ? view(stages, :, :, step) : nothing,
            )
        end
        ys[:, j + 1] .= y
    end
    report = plain_report(all(isfinite, ys), ts[end], (ts[end] - ts[end - 1]) / counts[end], s.work, sum(counts), 0.0)
    report = with_seconds(report, start)
    return DiscreteSolution(s, method, th, Vector{Float64}(ts), ys, stages, report)
end

function with_seconds(r::SolveReport, start)
    seconds = (time_ns() - start) / 1.0e9
    return SolveReport(r.status, r.retcode, r.t, r.dt, r.norm_f, r.work, r.n_accepted, r.n_rejected, seconds)
end

"One step in place; `keep` `(length, stages)` receives the stages."
function take_step!(y, stage, K, s::System{T}, theta, t, h, scheme, keep) where {T}
    for i in 1:n_stages(scheme)
        copyto!(stage, y)
        for (r, a) in enumerate(scheme.A[i])
            iszero(a) || axpy!(T(h * a), view(K, :, r), stage)
        end
        keep === nothing || (keep[:, i] .= stage)
        slope!(view(K, :, i), s, stage, theta, t + scheme.c[i] * h)
    end
    for (i, b) in enumerate(scheme.b)
        iszero(b) || axpy!(T(h * b), view(K, :, i), y)
    end
    return nothing
end

"""
    pullback(solution, cotangents; times = false)

Gradients `(by_y0, by_theta, by_ts, report)` of a loss with `cotangents` dL/dys `(length, times)`; `by_ts` `(times,)` is
`nothing` unless `times` are wanted. Like the states it is that of the discrete problem for a [`DiscOpt`](@ref), of the
continuous one for an [`OptDisc`](@ref).
"""
function pullback(sol::DiscreteSolution{T}, cotangents; times = false) where {T}
    s, scheme, ts = sol.system, sol.method.scheme, sol.ts
    counts = steps_between(sol.method, ts)
    size(sol.stages, 3) == sum(counts) ||
        throw(InvalidArgument(
            "solution",
            "solved with gradient = false",
            "nothing was kept",
            "solve with gradient = true",
        ))
    check_cotangents(sol, cotangents)
    start = time_ns()
    begin!(s)
    n, m = state_length(s), n_stages(scheme)
    adjoint, by_theta = Vector{T}(cotangents[:, end]), zeros(T, length(sol.theta))
    by_ts = times ? zeros(length(ts)) : nothing
    room = (Kbar = zeros(T, n, m), Ybar = zeros(T, n, m), K = zeros(T, n, m))
    step = sum(counts)
    for j in (length(ts) - 1):-1:1
        h = (ts[j + 1] - ts[j]) / counts[j]
        for i in (counts[j] - 1):-1:0
            t, stages, last = ts[j] + i * h, view(sol.stages, :, :, step), times ? copy(adjoint) : adjoint
            pull_step!(adjoint, by_theta, room, s, sol.theta, t, h, scheme, stages)
            if times
                by_t, by_h = time_cotangents(last, room, s, sol.theta, t, h, scheme, stages)
                share = i / counts[j]
                by_ts[j] += by_t * (1 - share) - by_h / counts[j]
                by_ts[j + 1] += by_t * share + by_h / counts[j]
            end
            step -= 1
        end
        adjoint .+= view(cotangents, :, j)
    end
    finite = all(isfinite, adjoint) && all(isfinite, by_theta)
    report = with_seconds(plain_report(finite, ts[1], 0.0, s.work, sum(counts), 0.0), start)
    return (by_y0 = adjoint, by_theta = by_theta, by_ts = by_ts, report = report)
end

"Throws [`InvalidArgument`](@ref) unless there is one cotangent for each number of the states."
function check_cotangents(sol, cotangents)
    size(cotangents) == size(sol.ys) && return nothing
    throw(InvalidArgument(
        "cotangents",
        "size $(size(cotangents))",
        "wrong size",
        "give dL/dys of the size of the states: $(size(sol.ys))",
    ))
end

"The cotangent of one step, in place: `adjoint` goes from the step's end to its start, `room` keeps those of the stages."
function pull_step!(adjoint, by_theta, room, s::System{T}, theta, t, h, scheme, stages) where {T}
    m = n_stages(scheme)
    for i in 1:m
        room.Kbar[:, i] .= T(h * scheme.b[i]) .* adjoint
    end
    for i in m:-1:1
        Ybar = view(room.Ybar, :, i)
        vjp_both!(Ybar, by_theta, view(room.Kbar, :, i), s, view(stages, :, i), theta, t + scheme.c[i] * h)
        adjoint .+= Ybar
        for (r, a) in enumerate(scheme.A[i])
            iszero(a) || axpy!(T(h * a), Ybar, view(room.Kbar, :, r))
        end
    end
    return nothing
end

"Cotangents `(by_t, by_h)` of a step's start and size; `last` is the adjoint at its end, `room` what `pull_step!` left."
function time_cotangents(last, room, s::System, theta, t, h, scheme, stages)
    by_t = by_h = 0.0
    for i in 1:n_stages(scheme)
        stage, at = view(stages, :, i), t + scheme.c[i] * h
        uncounted(() -> slope!(view(room.K, :, i), s, stage, theta, at), s)
        by_time = uncounted(() -> ForwardDiff.derivative(at -> slope_of(s, stage, theta, at), at), s)
        moved = dot(view(room.Kbar, :, i), by_time)
        by_t += moved
        by_h += scheme.c[i] * moved + scheme.b[i] * dot(last, view(room.K, :, i))
        for (r, a) in enumerate(scheme.A[i])
            by_h += a * dot(view(room.Ybar, :, i), view(room.K, :, r))
        end
    end
    return by_t, by_h
end

"What `work()` returns; its evaluations are not counted."
function uncounted(work, s::System)
    before = s.work
    s.work = Work()
    result = work()
    s.work = before
    return result
end
