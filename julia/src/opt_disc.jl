# Opt-Disc: an adaptive solve, and the continuous adjoint by SciMLSensitivity.

const SOLVERS = Dict{String, Function}(
    "tsit5" => () -> Tsit5(),
    "vern7" => () -> Vern7(; lazy = Val(false)),
    "vern9" => () -> Vern9(; lazy = Val(false)),
    "auto" => () -> AutoTsit5(Rodas5P()),
)

const ADJOINTS = ("gauss", "interpolating", "quadrature", "backsolve")
const VJPS = ("handwritten", "reversediff", "zygote", "enzyme")

"""
    OptDisc(; solver = "tsit5", adjoint = "gauss", rtol = 1e-7, atol = 1e-9, adjoint_rtol = rtol, adjoint_atol = atol,
              vjp = "handwritten", checkpointing = true, max_steps = 100_000, memory = nothing)

Optimise, then discretise: the continuous adjoint ODE, solved back in time by an adaptive solve of its own.

- `solver`: `"tsit5"`, `"vern7"`, `"vern9"`, or `"auto"`, which switches from Tsit5 to Rodas5P where the problem is stiff,
  forward and backward. Samples are independent, so its Jacobian has one block for each sample. `"auto"` does not go with
  `adjoint = "backsolve"`: the state of a stiff problem can't be solved backwards;
- `adjoint`: `"gauss"`, `"interpolating"` and `"quadrature"` read the state from the dense output of the forward solve.
  `"gauss"` needs the least work where there are many parameters, but does not control the error of the gradient by theta:
  choose another one for a field whose derivative by theta jumps. `"backsolve"` solves the state backwards together with
  the adjoint and keeps the states at output times only; it loses accuracy where the field is unstable in reversed time;
- `checkpointing`: whether `"backsolve"` sets the state to that of the forward solve at each output time;
- `vjp`: `"handwritten"` takes the vector-Jacobian products of this package; `"reversediff"`, `"zygote"` and `"enzyme"` take
  those of an AD system, to check the package's (`"enzyme"` needs an Enzyme that supports this Julia);
- `memory`: bytes that dense solutions may take; by default half of the free memory. A solve that would take more than half
  of these bytes keeps some of its states instead, and the backward pass solves forward again from each of them in turn. The
  gradient then costs one more forward solve, and no more than two such pieces are in memory at a time.
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
    memory::Union{Nothing, Int}
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
    memory = nothing,
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
    memory === nothing ||
        memory >= 1 ||
        throw(InvalidArgument("memory", memory, "not a positive number of bytes", "use e.g. 4e9, or leave it out"))
    solver == "auto" &&
        adjoint == "backsolve" &&
        throw(InvalidArgument(
            "adjoint",
            adjoint,
            "solver = auto is for stiff problems, whose state can't be solved backwards",
            "use adjoint = gauss, or solver = tsit5",
        ))
    bytes = memory === nothing ? nothing : Int(floor(memory))
    return OptDisc(solver, adjoint, vjp, rtol, atol, adjoint_rtol, adjoint_atol, checkpointing, max_steps, bytes)
end

"A time and the state there, from which a solve is taken up again."
struct Restart{T}
    t::Float64
    y::Vector{T}
end

"""
What [`solve_forward`](@ref) keeps for [`pullback`](@ref): SciML's solution `sol` from the last of the `restarts` on, dense
where an adjoint reads it.
"""
struct AdaptiveSolution{T, S, O}
    system::S
    method::OptDisc
    theta::Vector{T}
    ts::Vector{Float64}
    ys::Matrix{T}
    restarts::Vector{Restart{T}}
    sol::O
    differentiable::Bool
    report::SolveReport
end

"""
The ODE problem of `system` over `span` as SciML sees it; in place with our products, and with our Jacobian where the solver
is `"auto"`, or with AD of the plain formulas.
"""
function ode_problem(s::System, theta, y0, span, method)
    if method.vjp == "handwritten"
        jacobian = method.solver == "auto" ? SampleJacobian(s) : nothing
        f = ODEFunction{true, FullSpecialize}(
            (dy, y, p, t) -> slope!(dy, s, y, p, t);
            vjp = (Jv, v, y, p, t) -> pull_state!(Jv, v, s, y, p, t),
            vjp_p = (Jv, v, y, p, t) -> pull_theta!(Jv, v, s, y, p, t),
            jac = jacobian,
            jac_prototype = jacobian === nothing ? nothing : prototype(s),
        )
        return ODEProblem(f, y0, span, theta)
    elseif method.vjp == "enzyme"
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

"SciML's solver, with ours for linear systems where the problem has our Jacobian."
function solver_of(method::OptDisc)
    blocks = method.solver == "auto" && method.vjp == "handwritten"
    return blocks ? AutoTsit5(Rodas5P(; linsolve = BlockLU())) : SOLVERS[method.solver]()
end

"Solves from `from` to `stop`: densely, at most as many steps as `watch` allows, or with the states at `saved` alone."
function solve_piece(s::System, theta, from::Restart, stop, method, watch, saved = nothing; attempts = 0)
    # only a dense solution may be given to the adjoints: on a thinned one some of them are wrong without a word
    kept = saved === nothing ?
        (dense = true, save_everystep = true) :
        (dense = false, save_everystep = false, saveat = saved)
    # failures are told by the report, so the solver's own warnings would only repeat them
    return with_logger(NullLogger()) do
        Base.invokelatest(
            solve,
            ode_problem(s, theta, copy(from.y), (from.t, Float64(stop)), method),
            solver_of(method);
            reltol = method.rtol,
            abstol = method.atol,
            maxiters = max(method.max_steps - attempts, 1),
            hooks(watch)...,
            kept...,
        )
    end
end

function solve_forward(s::System{T}, theta, y0, ts, method::OptDisc; gradient = true) where {T}
    check_times(ts)
    check_theta(s.field, theta)
    check_length("y0", y0, state_length(s))
    begin!(s)
    bytes = budget(method)
    check_matrices(s, method; bytes)
    dense = gradient && method.adjoint != "backsolve"
    most = dense ? steps_within(bytes, s, method) : typemax(Int)
    th, start = Vector{T}(theta), time_ns()
    ys = fill(T(NaN), state_length(s), length(ts))
    restarts = [Restart{T}(ts[1], Vector{T}(y0))]
    filled = attempts = accepted = rejected = 0
    while true
        watch = StepWatch(most)
        sol = solve_piece(s, th, restarts[end], ts[end], method, watch, dense ? nothing : Float64.(ts); attempts)
        done = sol.retcode == ReturnCode.Success
        if done || isfull(watch)
            filled = fill_states!(ys, filled, sol, ts, dense)
        end
        attempts += watch.attempts
        accepted += sol.stats.naccept
        rejected += sol.stats.nreject
        if done || !isfull(watch) || attempts >= method.max_steps
            done ? (ys[:, 1] .= y0) : fill!(ys, T(NaN))
            report = forward_report(s, sol, watch, ys, ts, th, (accepted, rejected), start)
            return AdaptiveSolution(s, method, th, Vector{Float64}(ts), ys, restarts, sol, gradient, report)
        end
        push!(restarts, Restart{T}(sol.t[end], copy(sol.u[end])))
        sol = nothing
        GC.gc() # the next piece takes the memory of this one
    end
end

"Writes the states at the times of `ts` that `sol` reaches, after the first `filled`; returns how many are written now."
function fill_states!(ys, filled, sol, ts, dense)
    reached, forwards = Float64(sol.t[end]), ts[end] > ts[1]
    while filled < length(ts) && (forwards ? ts[filled + 1] <= reached : ts[filled + 1] >= reached)
        filled += 1
        ys[:, filled] .= dense ? sol(ts[filled]) : sol.u[filled]
    end
    return filled
end

# A step underflow arrives as `Unstable` as often as `DtLessThanMin`, so it is told from a blow-up by whether the state and
# the slope where it happened are finite.
function forward_report(s::System, sol, watch, ys, ts, theta, (accepted, rejected), start)
    seconds, work, word = seconds_since(start), s.work, string(sol.retcode)
    if sol.retcode == ReturnCode.Success && all(isfinite, ys)
        return SolveReport("SUCCESS", word, Float64(ts[end]), watch.dt, NaN, work, accepted, rejected, seconds)
    end
    y = sol.u[end]
    s.work = Work() # the look at where it stopped is no part of its cost
    slope = slope_of(s, y, theta, sol.t[end])
    s.work = work
    finite = watch.finite && all(isfinite, y) && all(isfinite, slope)
    status = if !finite || sol.retcode == ReturnCode.Success
        "NON_FINITE"
    else
        gave_up = isfull(watch) || sol.retcode in (ReturnCode.MaxIters, ReturnCode.MaxTime)
        gave_up ? "MAX_STEPS" : "STEP_UNDERFLOW"
    end
    t = isnan(watch.t) ? Float64(ts[1]) : watch.t
    return SolveReport(status, word, t, watch.dt, norm(slope), work, accepted, rejected, seconds)
end

seconds_since(start) = (time_ns() - start) / 1.0e9
