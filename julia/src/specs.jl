# From the JSON that pynode writes to systems and methods.

"""
    system_from_spec(spec, batch, probes, T)

The system of `{"field": FieldSpec, "flow": null | {"divergence", "kinetic", "jacobian"}}` for `batch` samples of
numbers `T`; `probes` `(dim, batch)`, or empty.
"""
function system_from_spec(spec::AbstractDict, batch, probes, T)
    field = field_from_spec(spec["field"])
    given = get(spec, "flow", nothing)
    flow = given === nothing ? nothing : flow_from_spec(given)
    return System(field, batch; flow, probes = isempty(probes) ? nothing : Matrix{T}(probes), T)
end

function flow_from_spec(spec::AbstractDict)
    return FlowState(spec["divergence"]; kinetic = get(spec, "kinetic", false), jacobian = get(spec, "jacobian", false))
end

"Numbers that one sample has in the flat state."
function rows_of(spec::AbstractDict)
    given = get(spec, "flow", nothing)
    return state_dim(field_from_spec(spec["field"])) + n_extra(given === nothing ? nothing : flow_from_spec(given))
end

"""
    method_from_options(options)

`{"kind": "opt-disc", ...}` with the keywords of [`OptDisc`](@ref), or
`{"kind": "disc-opt", "A", "b", "c", "substeps"}`, where `"scheme"` may name a tableau instead.
"""
function method_from_options(options::AbstractDict)
    kind = get(options, "kind", "")
    if kind == "disc-opt"
        substeps = options["substeps"]
        return DiscOpt(tableau(options), substeps isa Integer ? Int(substeps) : Int.(substeps))
    elseif kind == "opt-disc"
        names = (
            :solver,
            :adjoint,
            :vjp,
            :rtol,
            :atol,
            :adjoint_rtol,
            :adjoint_atol,
            :checkpointing,
            :max_steps,
            :memory,
        )
        given = Dict(n => options[string(n)] for n in names if get(options, string(n), nothing) !== nothing)
        return OptDisc(; given...)
    end
    throw(InvalidArgument("kind", kind, "unknown", "use disc-opt or opt-disc"))
end

function tableau(options::AbstractDict)
    haskey(options, "A") || return scheme(options["scheme"])
    A = [Float64[x for x in row] for row in options["A"]]
    b, c = Float64[x for x in options["b"]], Float64[x for x in options["c"]]
    length(A) == length(b) == length(c) && all(length(A[i]) == i - 1 for i in eachindex(A)) ||
        throw(InvalidArgument(
            "A",
            options["A"],
            "no strictly lower triangular tableau",
            "row i must hold i - 1 entries",
        ))
    return Scheme(get(options, "scheme", "unnamed"), 0, A, b, c)
end
