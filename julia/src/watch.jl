# Following a solve from outside: its steps, the memory that it fills, and the drift of a state that is solved backwards.

"""
    StepWatch(most = typemax(Int), refusal = nothing)

Follows the steps of a solve by two hooks that every solver calls and that no adjoint swallows: `isoutofdomain` once an
attempted step, `unstable_check` after an accepted one (but not after the last, nor always where a solver is about to turn
stiff). Stops the solve after `most` attempted steps ([`isfull`](@ref)), by throwing `refusal` if there is one, or where the state is not finite.
"""
mutable struct StepWatch
    const most::Int
    const refusal::Union{Nothing, InvalidArgument}
    attempts::Int
    accepted::Int
    t::Float64
    dt::Float64
    finite::Bool
end

StepWatch(most = typemax(Int), refusal = nothing) = StepWatch(most, refusal, 0, 0, NaN, NaN, true)

"Whether the watch has stopped a solve that could have gone on."
isfull(watch::StepWatch) = watch.finite && watch.attempts >= watch.most

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
        isfull(watch) && watch.refusal !== nothing && throw(watch.refusal)
        return !watch.finite || isfull(watch)
    end
    return (isoutofdomain = attempted, unstable_check = accepted)
end
