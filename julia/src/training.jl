# Training inside Julia, so that its seconds can stand beside those of other languages.

"""
    Adam(n; learning_rate)

Adam (Kingma & Ba 2015) with its usual constants, the update that torch.optim.Adam makes.
"""
mutable struct Adam{T}
    const learning_rate::T
    const m::Vector{T}
    const v::Vector{T}
    t::Int
end

Adam(n::Integer; learning_rate, T = Float64) = Adam{T}(T(learning_rate), zeros(T, n), zeros(T, n), 0)

"One update of `theta` by its `gradient`, in place."
function update!(theta, adam::Adam{T}, gradient) where {T}
    adam.t += 1
    beta1, beta2, eps = T(0.9), T(0.999), T(1.0e-8)
    first, second = 1 - beta1^adam.t, 1 - beta2^adam.t
    @inbounds for i in eachindex(theta)
        g = gradient[i]
        adam.m[i] = beta1 * adam.m[i] + (1 - beta1) * g
        adam.v[i] = beta2 * adam.v[i] + (1 - beta2) * g^2
        theta[i] -= adam.learning_rate / first * adam.m[i] / (sqrt(adam.v[i]) / sqrt(second) + eps)
    end
    return theta
end

"""
    train(system, theta, y0, ts, data, method; iterations, learning_rate, report = nothing)

Fits states at `ts` to `data` `(length, times)`: the loss is the sum of squares. Compiles first: one unrecorded iteration.
Returns `(theta, iterations, warmup_seconds)`; an iteration is a named tuple of its number, loss, seconds of solve with
loss, of gradient and of optimiser, evaluations and products forward and backward. `report(iteration)` hears of each.
Throws [`SolveFailed`](@ref).
"""
function train(s::System{T}, theta, y0, ts, data, method; iterations, learning_rate, report = nothing) where {T}
    theta = Vector{T}(theta)
    size(data) == (state_length(s), length(ts)) ||
        throw(InvalidArgument(
            "data",
            "size $(size(data))",
            "wrong size",
            "give the states at all times: $((state_length(s), length(ts)))",
        ))
    adam = Adam(length(theta); learning_rate, T)
    start = time_ns()
    one_iteration!(copy(theta), Adam(length(theta); learning_rate, T), s, y0, ts, data, method, 0)
    warmup = seconds_since(start)
    records = map(0:(iterations - 1)) do i
        record = one_iteration!(theta, adam, s, y0, ts, data, method, i)
        report === nothing || report(record)
        record
    end
    return (theta = theta, iterations = records, warmup_seconds = warmup)
end

function one_iteration!(theta, adam, s, y0, ts, data, method, i)
    start = time_ns()
    sol = solve_forward(s, theta, y0, ts, method)
    succeeded(sol.report) || throw(SolveFailed(sol.report))
    loss = sum(abs2, sol.ys .- data)
    solved = time_ns()
    gradient = pullback(sol, 2 .* (sol.ys .- data))
    succeeded(gradient.report) || throw(SolveFailed(gradient.report))
    pulled = time_ns()
    update!(theta, adam, gradient.by_theta)
    updated = time_ns()
    return (
        iteration = i,
        loss = loss,
        seconds_forward = (solved - start) / 1.0e9,
        seconds_backward = (pulled - solved) / 1.0e9,
        seconds_optimiser = (updated - pulled) / 1.0e9,
        nfe_forward = sol.report.work.n_f,
        nfe_backward = gradient.report.work.n_f,
        n_vjp_backward = gradient.report.work.n_vjp,
    )
end

"The spiral of Onken & Ruthotto: du/dt = A' u^3 from (2, 0), observed at `points` equidistant times on [0, 1.5]."
function spiral(; points = 30)
    A = [-0.1 2.0; -2.0 -0.1]
    ts = collect(range(0, 1.5; length = points))
    prob = ODEProblem((u, p, t) -> A' * (u.^3), [2.0, 0.0], (0.0, 1.5))
    sol = solve(prob, Vern9(); reltol = 1.0e-13, abstol = 1.0e-13, saveat = ts)
    return (y0 = [2.0, 0.0], ts = ts, data = Array(sol), field = MLP([2, 50, 2], Tanh(); input_power = 3))
end

"""
    train_spiral(method; iterations = 300, learning_rate = 0.1, theta = nothing, seed = 0, io = stdout)

The study's first problem from beginning to end; prints the loss and the median seconds of an iteration, returns what
[`train`](@ref) does. Without `theta` the weights are Glorot-uniform from `seed`.
"""
function train_spiral(method; iterations = 300, learning_rate = 0.1, theta = nothing, seed = 0, io = stdout)
    problem = spiral()
    theta = theta === nothing ? glorot(problem.field, seed) : theta
    done = train(
        System(problem.field, 1),
        theta,
        problem.y0,
        problem.ts,
        problem.data,
        method;
        iterations,
        learning_rate,
    )
    totals = [r.seconds_forward + r.seconds_backward + r.seconds_optimiser for r in done.iterations]
    println(
        io,
        nameof(typeof(method)),
        ": loss ",
        done.iterations[1].loss,
        " -> ",
        done.iterations[end].loss,
        " in ",
        iterations,
        " iterations, median ",
        1000 * median(totals),
        " ms each after ",
        done.warmup_seconds,
        " s of compilation",
    )
    return done
end

"Glorot-uniform weights and zero biases, as the tape's slots say, `(n_params,)`."
function glorot(tape::Tape, seed)
    rng = Xoshiro(seed)
    parts = map(tape.slots) do slot
        slot.fan === nothing && return zeros(length(slot))
        return sqrt(6 / sum(slot.fan)) .* (2 .* rand(rng, length(slot)) .- 1)
    end
    return reduce(vcat, parts; init = Float64[])
end
