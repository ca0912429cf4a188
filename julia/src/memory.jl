# What a solve may keep: a budget of bytes, what a dense solution and a stiff solver's matrices take of it, and the refusal
# of what can't fit.

"Vectors that a step of a dense solution keeps: its state and the slopes of its interpolant."
const VECTORS_PER_STEP = Dict("tsit5" => 8, "vern7" => 17, "vern9" => 27, "auto" => 9)

"A vector of Julia's takes this beside its entries."
const VECTOR_BYTES = 64

"Fewer steps than this between two restarts would cost more than they save."
const FEWEST_STEPS = 20

"States of more entries get no dense Jacobian: its factors alone would take longer than a solve should."
const LARGEST_DENSE = 2_000

gigabytes(bytes) = string(round(bytes / 1.0e9; sigdigits = 2), " GB")

"Bytes that were free at a time in nanoseconds: to ask the system takes longer than a small solve, so it is asked once a second."
const FREE = Ref((bytes = 0, at = UInt64(0)))

function free_bytes()
    now = time_ns()
    if now - FREE[].at > 1_000_000_000
        FREE[] = (bytes = Int(min(Sys.free_memory(), UInt64(typemax(Int)))), at = now)
    end
    return FREE[].bytes
end

"""
    budget(method)

Bytes that a solve may keep: `method.memory`, or half of what is free.
"""
budget(method) = method.memory === nothing ? free_bytes() ÷ 2 : method.memory

bytes_per_step(s::System{T}, solver) where {T} = VECTORS_PER_STEP[solver] * (sizeof(T) * state_length(s) + VECTOR_BYTES)

"""
    steps_within(bytes, system, method)

How many steps a piece of a dense solution may keep; throws [`InvalidArgument`](@ref) where that is too few to be of use.
"""
function steps_within(bytes, s::System, method)
    step = bytes_per_step(s, method.solver)
    # on the way back there are two pieces: the last one, and one that is solved again; a quadrature keeps the adjoint's
    # solution too, which may take three times as many steps as the state's
    steps = bytes ÷ ((method.adjoint == "quadrature" ? 5 : 2) * step)
    steps >= FEWEST_STEPS && return steps
    throw(InvalidArgument(
        "y0",
        "$(s.batch) samples of $(rows(s)) entries",
        "each step kept for the gradient takes $(gigabytes(step)), and the budget is $(gigabytes(bytes))",
        "use smaller batches, adjoint = backsolve, or fixed steps",
    ))
end

"""
    check_matrices(system, method; bytes = budget(method))

Throws [`InvalidArgument`](@ref) where the matrices of solver `"auto"` would not fit into `bytes`: blocks, or a dense matrix
where the products come from an AD system, which is for small states only.
"""
function check_matrices(s::System{T}, method; bytes = budget(method)) where {T}
    method.solver == "auto" || return nothing
    n = Float64(state_length(s))
    method.vjp == "handwritten" ||
        n <= LARGEST_DENSE ||
        throw(InvalidArgument(
            "vjp",
            method.vjp,
            "solver = auto has dense Jacobians with it, and the state has $(state_length(s)) entries",
            "use vjp = handwritten, whose Jacobian has blocks, or at most $LARGEST_DENSE entries",
        ))
    # the Jacobian, the matrix of a step, and the same for the adjoint with a copy of the forward one
    needed = 5 * sizeof(T) * (method.vjp == "handwritten" ? n * rows(s) : n * n)
    needed <= bytes && return nothing
    remedy = method.vjp == "handwritten" ?
        "smaller batches" :
        "vjp = handwritten, whose Jacobian has blocks, smaller batches"
    throw(InvalidArgument(
        "solver",
        "auto",
        "its Jacobians would take $(gigabytes(needed)), and the budget is $(gigabytes(bytes))",
        "use $remedy, or another solver",
    ))
end
