# Gradients by the direct call of SciMLSensitivity's adjoints with hand-written products, as PyNODE makes them.
#   julia --project=. tests/reference/direct/record.jl OUTDIR
# The inputs are those of ../*.json, two more cases from closed formulas; the format is that of pynode/studies/crosscheck/case.py.
using JSON, PyNODE

const INPUTS = joinpath(@__DIR__, "..")
const TOLERANCES = (1.0e-3, 1.0e-5, 1.0e-7, 1.0e-10)

wave(n, a, b, size) = [size * sin(a * i + b) for i in 1:n]

function hamiltonian(name, ts)
    field = Dict("architecture" => "hamiltonian", "dim" => 4, "width" => 6, "activation" => "tanh")
    return Dict{String, Any}(
        "name" => name,
        "field" => field,
        "theta" => wave(30, 1.3, 0.5, 0.8),
        "y0" => wave(12, 1.1, 0.2, 1.0),
        "ts" => ts,
        "batch" => 3,
        "dim" => 4,
        "loss" => "0.5 times the sum over all output times and entries of (ys - 0.2)^2",
        "loss_form" => Dict("kind" => "squares", "shift" => 0.2, "scale" => 0.5),
    )
end

"The inputs of a recorded case, without its results."
function inputs_of(path)
    data = JSON.parsefile(path)
    results = ("versions", "reference", "opt_disc", "disc_opt", "results")
    return Dict{String, Any}(string(k) => v for (k, v) in pairs(data) if !(string(k) in results))
end

row(computed) = Dict{String, Any}("loss" => computed.loss, "grad_theta" => computed.by_theta, "grad_y0" => computed.by_y0)

function opt_disc_row(case, truth, adjoint, rtol)
    method = OptDisc(; adjoint, rtol, atol = rtol / 100)
    computed = rerun(case, method)
    work, back = computed.forward.work, computed.backward.work
    return merge(
        row(computed),
        Dict{String, Any}(
            "adjoint" => adjoint,
            "solver" => "Tsit5",
            "rtol" => rtol,
            "atol" => rtol / 100,
            "nfe_forward" => work.n_f,
            "nfe_backward" => back.n_f,
            "vjp_by_state" => back.by_state,
            "vjp_by_theta" => back.by_theta,
            "n_accepted" => computed.forward.n_accepted,
            "n_accepted_backward" => computed.backward.n_accepted,
            "relative_error_theta" => PyNODE.relative(computed.by_theta, truth.by_theta),
        ),
    )
end

function disc_opt_row(case, truth, name, substeps)
    computed = rerun(case, DiscOpt(scheme(name); substeps))
    more = Dict{String, Any}(
        "scheme" => name,
        "substeps" => substeps,
        "relative_distance_to_continuous" => PyNODE.relative(computed.by_theta, truth.by_theta),
    )
    return merge(row(computed), more)
end

function record(inputs, folder)
    path = joinpath(folder, inputs["name"] * ".json")
    write(path, JSON.json(inputs))
    case = load_case(path)
    truth = PyNODE.reference_gradient(case)
    method = OptDisc(; solver = "vern9", rtol = 1.0e-12, atol = 1.0e-12)
    ys = solve_forward(case.system, case.theta, case.y0, case.ts, method).ys
    inputs["versions"] = PyNODE.versions()
    inputs["reference"] = Dict(
        "solver" => "Vern9",
        "rtol" => 1.0e-12,
        "atol" => 1.0e-12,
        "loss" => case.loss(ys),
        "grad_theta" => truth.by_theta,
        "grad_y0" => truth.by_y0,
        "ys" => [ys[:, j] for j in axes(ys, 2)],
    )
    inputs["opt_disc"] = [opt_disc_row(case, truth, a, tol) for tol in TOLERANCES for a in PyNODE.ADJOINTS]
    schemes = [(name, n) for name in sort!(collect(keys(PyNODE.SCHEMES))) for n in (1, 4)]
    inputs["disc_opt"] = [disc_opt_row(case, truth, name, n) for (name, n) in schemes]
    write(path, JSON.json(inputs) * "\n")
    return println("wrote ", path)
end

let folder = isempty(ARGS) ? @__DIR__() : ARGS[1]
    for path in filter(endswith(".json"), readdir(INPUTS; join = true))
        record(inputs_of(path), folder)
    end
    record(hamiltonian("hamiltonian", [0.0, 0.5, 1.2]), folder)
    record(hamiltonian("hamiltonian-reversed", [1.2, 0.5, 0.0]), folder)
end
