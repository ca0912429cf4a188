# Gradients from AD through the whole solver: slow, and right by construction. What every adjoint is checked against.

"""
    forwarddiff_gradient(system, theta, y0, ts, loss, method)

Gradients `(by_y0, by_theta)` of `loss(ys)`, `ys` `(length, times)`, by ForwardDiff through the fixed steps of a
[`DiscOpt`](@ref), or through the adaptive solver of an [`OptDisc`](@ref).
"""
function forwarddiff_gradient(s::System, theta, y0, ts, loss, method)
    n = length(y0)
    by = ForwardDiff.gradient(z -> loss(states(s, z[(n + 1):end], z[1:n], ts, method)), vcat(y0, theta))
    return (by_y0 = by[1:n], by_theta = by[(n + 1):end])
end

"""
    reversediff_gradient(system, theta, y0, ts, loss, method::OptDisc)

Gradients by SciMLSensitivity's ReverseDiffAdjoint: AD of the adaptive solver's operations.
"""
function reversediff_gradient(s::System, theta, y0, ts, loss, method::OptDisc)
    prob = ODEProblem{false, FullSpecialize}((y, p, t) -> slope_of(s, y, p, t), y0, (ts[1], ts[end]), theta)
    by_y0, by_theta = Zygote.gradient(y0, theta) do y, p
        sol = solve(
            remake(prob; u0 = y, p = p),
            SOLVERS[method.solver]();
            reltol = method.rtol,
            abstol = method.atol,
            saveat = ts,
            sensealg = ReverseDiffAdjoint(),
        )
        loss(Array(sol))
    end
    return (by_y0 = by_y0, by_theta = by_theta)
end

"""
    states(system, theta, y0, ts, method)

States `(length, times)` in plain array algebra, for numbers of any type.
"""
function states(s::System, theta, y0, ts, method::DiscOpt)
    y = y0 .+ zero(eltype(theta))
    ys, counts = [y], steps_between(method, ts)
    for j in 1:(length(ts) - 1)
        h = (ts[j + 1] - ts[j]) / counts[j]
        for i in 0:(counts[j] - 1)
            K = typeof(y)[]
            for (a, c) in zip(method.scheme.A, method.scheme.c)
                stage = y
                for (r, weight) in enumerate(a)
                    stage = stage .+ (h * weight) .* K[r]
                end
                push!(K, slope_of(s, stage, theta, ts[j] + (i + c) * h))
            end
            for (b, slope) in zip(method.scheme.b, K)
                y = y .+ (h * b) .* slope
            end
        end
        push!(ys, y)
    end
    return reduce(hcat, ys)
end

function states(s::System, theta, y0, ts, method::OptDisc)
    prob = ODEProblem{false, FullSpecialize}(
        (y, p, t) -> slope_of(s, y, p, t),
        y0 .+ zero(eltype(theta)),
        (ts[1], ts[end]),
        theta,
    )
    tolerances = (reltol = method.rtol, abstol = method.atol, maxiters = method.max_steps)
    sol = solve(prob, SOLVERS[method.solver](); tolerances...)
    if !SciMLBase.successful_retcode(sol)
        # its last polynomial would be taken for the rest
        word = string(sol.retcode)
        status = sol.retcode == ReturnCode.MaxIters ? "MAX_STEPS" : "STEP_UNDERFLOW"
        throw(SolveFailed(SolveReport(status, word, Float64(sol.t[end]), NaN, NaN, s.work, 0, 0, NaN)))
    end
    return reduce(hcat, [sol(t) for t in ts])
end
