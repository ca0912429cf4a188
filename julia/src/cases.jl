# Cases: what `crosscheck` writes and tests/reference holds, opened here. The format stands in pynode/studies/crosscheck/case.py.

"""
    Case

One solve with its loss: `system`, `theta`, flat `y0`, `ts`, `loss` (callable on states `(length, times)`), and the whole
file as `data`, recorded rows of other backends included.
"""
struct Case{S <: System, L}
    name::String
    system::S
    theta::Vector{Float64}
    y0::Vector{Float64}
    ts::Vector{Float64}
    loss::L
    data::AbstractDict
end

function Base.show(io::IO, case::Case)
    shape = "$(length(case.y0)) numbers at $(length(case.ts)) times, $(length(case.theta)) parameters"
    return print(io, "Case ", case.name, ": ", name(case.system.field), ", ", shape)
end

"scale * sum of (ys - target)^2."
struct SquaresLoss{D}
    target::D
    scale::Float64
end
(l::SquaresLoss)(ys) = l.scale * sum(abs2, ys .- l.target)
cotangents(l::SquaresLoss, ys) = 2 * l.scale .* (ys .- l.target)

"sum of weights * ys."
struct LinearLoss
    weights::Matrix{Float64}
end
(l::LinearLoss)(ys) = sum(l.weights .* ys)
cotangents(l::LinearLoss, ys) = l.weights .+ zero(ys)

"-mean over samples of (log N(z; 0, I) - l) at the last time, for samples (z, l, costs...) of `rows` numbers."
struct LikelihoodLoss
    dim::Int
    rows::Int
end
function (l::LikelihoodLoss)(ys)
    U = reshape(ys[:, end], l.rows, :)
    normal = sum(abs2, U[1:(l.dim), :]) / 2 + size(U, 2) * l.dim * log(2pi) / 2
    return (normal + sum(U[l.dim + 1, :])) / size(U, 2)
end
function cotangents(l::LikelihoodLoss, ys)
    bar = zero(ys)
    U, last = reshape(ys[:, end], l.rows, :), reshape(view(bar, :, size(ys, 2)), l.rows, :)
    last[1:(l.dim), :] .= U[1:(l.dim), :] ./ size(U, 2)
    last[l.dim + 1, :] .= 1 / size(U, 2)
    return bar
end

"""
    load_case(path)

The [`Case`](@ref) in a file that Python wrote.
"""
function load_case(path::AbstractString)
    isfile(path) || throw(InvalidArgument("path", path, "no such file", "give the path that crosscheck printed"))
    data = JSON.parsefile(path)
    batch = data["batch"]
    flow = get(data, "divergence", nothing)
    spec = Dict{String, Any}("field" => data["field"])
    probes = zeros(0, 0)
    if flow !== nothing
        spec["flow"] = Dict{String, Any}(
            "divergence" => flow,
            "kinetic" => get(data, "kinetic", false),
            "jacobian" => get(data, "jacobian", false),
        )
        flow == "hutchinson" && (probes = columns(data["probes"]))
    end
    system = system_from_spec(spec, batch, probes, Float64)
    numbers(key) = Float64[x for x in data[key]]
    theta, y0, ts = numbers("theta"), numbers("y0"), numbers("ts")
    check_theta(system.field, theta)
    length(y0) == state_length(system) ||
        throw(InvalidArgument("y0", "length $(length(y0))", "wrong length", "this case needs $(state_length(system))"))
    return Case(string(data["name"]), system, theta, y0, ts, loss_of(data, system), data)
end

"The rows of a nested list as the columns of a matrix."
columns(rows) = reduce(hcat, [Float64[x for x in row] for row in rows])

"The loss of a file: its `loss_form`, or else what its sentence says."
function loss_of(data, system::System)
    form = get(data, "loss_form", nothing)
    form === nothing && (form = understood(data))
    kind = form["kind"]
    if kind == "nll"
        system.flow === nothing &&
            throw(InvalidArgument(
                "loss_form",
                kind,
                "needs the state of a flow, but there is no divergence",
                "use squares or linear",
            ))
        return LikelihoodLoss(state_dim(system.field), rows(system))
    end
    kind == "linear" && return LinearLoss(columns(form["weights"]))
    kind == "squares" || throw(InvalidArgument("loss_form", kind, "unknown", "use squares, linear or nll"))
    scale = Float64(get(form, "scale", 1.0))
    haskey(form, "data") && return SquaresLoss(columns(form["data"]), scale)
    return SquaresLoss(Float64(get(form, "shift", 0.0)), scale)
end

# The sentences of files from before there was a `loss_form`; pynode/studies/crosscheck/loss.py understands the same.
const NUMBER = raw"\d+(?:\.\d+)?"
const SQUARES_SENTENCE = Regex(
    "^sum over all output times and entries of (?:ys|\\(ys - ($NUMBER)\\))\\^2, divided by ($NUMBER)\\z",
)
const DATA_SENTENCE = "sum of squares of (ys - data)"
const LIKELIHOOD_SENTENCE = "-mean(log N(z(T); 0, I) - logp(T)) with logp(0) = 0, logp' = -tr(df/dz)"

"The `loss_form` that the sentence `loss` says; throws [`InvalidArgument`](@ref) for any but those above."
function understood(data)
    sentence = string(get(data, "loss", ""))
    sentence == LIKELIHOOD_SENTENCE && return Dict{String, Any}("kind" => "nll")
    if sentence == DATA_SENTENCE
        haskey(data, "data") ||
            throw(InvalidArgument("loss", sentence, "there is no data in the file", "add data, or a loss_form"))
        return Dict{String, Any}("kind" => "squares", "data" => data["data"], "scale" => 1.0)
    end
    parts = match(SQUARES_SENTENCE, sentence)
    divisor = parts === nothing ? 0.0 : parse(Float64, parts[2])
    iszero(divisor) &&
        throw(InvalidArgument(
            "loss",
            repr(sentence),
            "there is no loss_form, and this sentence is not understood",
            "add e.g. \"loss_form\": {\"kind\": \"squares\", \"shift\": 0.5, \"scale\": 0.2}",
        ))
    shift = parts[1] === nothing ? 0.0 : parse(Float64, parts[1])
    return Dict{String, Any}("kind" => "squares", "shift" => shift, "scale" => 1 / divisor)
end

"""
    rerun(case, method = OptDisc(rtol = 1e-8, atol = 1e-10))

Solves the case and takes its gradient: `(loss, by_y0, by_theta, solution, forward, backward)`. `solution.sol` is SciML's
own solution object where the method is an [`OptDisc`](@ref). Throws [`SolveFailed`](@ref).
"""
function rerun(case::Case, method = OptDisc(; rtol = 1.0e-8, atol = 1.0e-10))
    solution = solve_forward(case.system, case.theta, case.y0, case.ts, method)
    succeeded(solution.report) || throw(SolveFailed(solution.report))
    gradient = pullback(solution, cotangents(case.loss, solution.ys))
    succeeded(gradient.report) || throw(SolveFailed(gradient.report))
    return (
        loss = case.loss(solution.ys),
        by_y0 = gradient.by_y0,
        by_theta = gradient.by_theta,
        solution = solution,
        forward = solution.report,
        backward = gradient.report,
    )
end

relative(a, b) = norm(a .- b) / norm(b)

"""
    reference_gradient(case)

The gradient of the continuous problem, `(by_y0, by_theta)`: by ForwardDiff through Vern9 at 1e-12.
"""
function reference_gradient(case::Case)
    method = OptDisc(; solver = "vern9", rtol = 1.0e-12, atol = 1.0e-12)
    return forwarddiff_gradient(case.system, case.theta, case.y0, case.ts, case.loss, method)
end

"""
    compare(case; rtol = 1e-8, atol = rtol / 100, solver = "tsit5", io = stdout)

Runs every adjoint of this package, and RK4 with its discrete adjoint, on the case; prints how far they and every recorded
row are from [`reference_gradient`](@ref), relative; returns the rows `(name, error_theta, error_y0, failed)`.
"""
function compare(case::Case; rtol = 1.0e-8, atol = rtol / 100, solver = "tsit5", io = stdout)
    truth = reference_gradient(case)
    rows = NamedTuple[]
    function note(name, by_theta, by_y0)
        errors = (relative(by_theta, truth.by_theta), relative(by_y0, truth.by_y0))
        return push!(rows, (name = name, error_theta = errors[1], error_y0 = errors[2], failed = ""))
    end
    failed(name, why) = push!(rows, (name = name, error_theta = NaN, error_y0 = NaN, failed = why))
    function attempt(name, method)
        try
            result = rerun(case, method)
            note("here: " * name, result.by_theta, result.by_y0)
        catch error
            error isa SolveFailed || rethrow()
            failed("here: " * name, error.report.status)
        end
    end
    for adjoint in ADJOINTS
        attempt("$adjoint $solver rtol $rtol", OptDisc(; solver, adjoint, rtol, atol))
    end
    for substeps in (1, 8)
        attempt("rk4 x $substeps, discrete adjoint", DiscOpt(scheme("rk4"); substeps))
    end
    for kind in ("reference", "opt_disc", "disc_opt", "results")
        for row in recorded(case.data, kind)
            note("file: " * row_name(kind, row), floats(row["grad_theta"]), floats(row["grad_y0"]))
        end
        for row in failures(case.data, kind)
            failed("file: " * row_name(kind, row), first(string(row["failed"]), 60))
        end
    end
    width = maximum(length(row.name) for row in rows)
    println(io, case, "\n", rpad("relative error of the gradient by", width + 2), rpad("theta", 14), "y0")
    for row in rows
        errors = rpad(brief(row.error_theta), 14) * brief(row.error_y0)
        println(io, rpad(row.name, width + 2), isempty(row.failed) ? errors : "failed: " * row.failed)
    end
    return rows
end

brief(x) = string(round(x; sigdigits = 3))

floats(values) = Float64[x === nothing ? NaN : x for x in values]

"The rows of one kind that hold a gradient."
function recorded(data, kind)
    listed = get(data, kind, [])
    return [row for row in (listed isa AbstractDict ? [listed] : listed) if haskey(row, "grad_theta")]
end

"The rows of one kind that tell of a failure instead."
failures(data, kind) = [
    row
    for row in (get(data, kind, []) isa AbstractVector ? get(data, kind, []) : [])
    if haskey(row, "failed")
]

function row_name(kind, row)
    haskey(row, "label") && return string(row["label"])
    words = [string(row[key]) for key in ("scheme", "adjoint", "solver", "substeps", "rtol") if haskey(row, key)]
    return join([kind == "reference" ? "reference" : ""; words], " ")
end
