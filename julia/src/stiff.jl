# df/dy of a System, which couples no two samples, and the linear systems that a stiff solver makes of it.

"""
    SampleBlocks{T}(n, batch)

A matrix of `batch` dense blocks `(n, n)` on its diagonal: memory and work are linear in the batch. Its memory is taken when
something is written for the first time, so a solve that never turns stiff pays nothing.
"""
mutable struct SampleBlocks{T} <: AbstractMatrix{T}
    const n::Int
    const batch::Int
    blocks::Array{T, 3} # (n, n, batch), or empty before the first write
    pivots::Matrix{Int} # (n, batch): rows exchanged by `factorize!`, which overwrites the blocks
end

SampleBlocks{T}(n, batch) where {T} = SampleBlocks{T}(n, batch, zeros(T, 0, 0, 0), zeros(Int, 0, 0))

"The blocks `(n, n, batch)`, in memory that may be written."
function blocks!(A::SampleBlocks{T}) where {T}
    isempty(A.blocks) && (A.blocks = zeros(T, A.n, A.n, A.batch))
    return A.blocks
end

Base.size(A::SampleBlocks) = (A.n * A.batch, A.n * A.batch)
Base.similar(A::SampleBlocks{T}) where {T} = similar(A, T)
Base.similar(A::SampleBlocks, ::Type{T}) where {T} = SampleBlocks{T}(A.n, A.batch)
Base.copy(A::SampleBlocks{T}) where {T} = copyto!(similar(A), A)

"Sample, row and column within its block, of entry (i, j); `nothing` outside of the blocks."
function place(A::SampleBlocks, i, j)
    b, r = divrem(i - 1, A.n)
    other, c = divrem(j - 1, A.n)
    return b == other ? (r + 1, c + 1, b + 1) : nothing
end

Base.@propagate_inbounds function Base.getindex(A::SampleBlocks{T}, i::Int, j::Int) where {T}
    @boundscheck checkbounds(A, i, j)
    at = place(A, i, j)
    return at === nothing || isempty(A.blocks) ? zero(T) : A.blocks[at...]
end

Base.@propagate_inbounds function Base.setindex!(A::SampleBlocks, value, i::Int, j::Int)
    @boundscheck checkbounds(A, i, j)
    at = place(A, i, j)
    at === nothing && throw(ArgumentError("entry ($i, $j) lies outside of the blocks"))
    blocks!(A)[at...] = value
    return A
end

function Base.copyto!(A::SampleBlocks, B::SampleBlocks)
    if isempty(B.blocks)
        isempty(A.blocks) || fill!(A.blocks, 0)
    else
        copyto!(blocks!(A), B.blocks)
    end
    return A
end

# what SciMLSensitivity asks of a Jacobian to make the adjoint's of it

Base.adjoint(A::SampleBlocks) = transpose!(similar(A), A)

function LinearAlgebra.transpose!(A::SampleBlocks, B::SampleBlocks)
    isempty(B.blocks) || permutedims!(blocks!(A), B.blocks, (2, 1, 3))
    return A
end

function LinearAlgebra.lmul!(a::Number, A::SampleBlocks)
    A.blocks .*= a
    return A
end

"The largest sum of a row's absolute values, by which a solver that can switch judges stiffness."
function LinearAlgebra.opnorm(A::SampleBlocks{T}, p::Real = Inf) where {T}
    p == Inf || throw(ArgumentError("opnorm of SampleBlocks for p = Inf only, not $p"))
    largest = zero(T)
    for b in axes(A.blocks, 3), i in axes(A.blocks, 1)
        total = zero(T)
        for j in axes(A.blocks, 2)
            total += abs(A.blocks[i, j, b])
        end
        largest = max(largest, total) # which keeps a NaN
    end
    return largest
end

"A call of LAPACK costs more than the factors of a small block by loops."
const LAPACK_FROM = 24

"""
    factorize!(A)

Replaces every block by its LU factors with partial pivoting. A singular block leads to entries that are not finite, and
thus to a step that is rejected.
"""
function factorize!(A::SampleBlocks)
    isempty(A.pivots) && (A.pivots = zeros(Int, A.n, A.batch))
    blocks = blocks!(A)
    for b in 1:(A.batch)
        factorize_block!(view(blocks, :, :, b), view(A.pivots, :, b))
    end
    return A
end

function factorize_block!(M::AbstractMatrix, pivots)
    n = size(M, 1)
    if n >= LAPACK_FROM
        pivots .= LAPACK.getrf!(M; check = false)[2]
        return nothing
    end
    @inbounds for k in 1:n
        p = k
        for i in (k + 1):n
            abs(M[i, k]) > abs(M[p, k]) && (p = i)
        end
        pivots[k] = p
        if p != k
            for j in 1:n
                M[k, j], M[p, j] = M[p, j], M[k, j]
            end
        end
        for i in (k + 1):n
            M[i, k] /= M[k, k]
        end
        for j in (k + 1):n
            @simd for i in (k + 1):n
                M[i, j] -= M[i, k] * M[k, j]
            end
        end
    end
    return nothing
end

"`x = A \\ b` after [`factorize!`](@ref), on flat vectors."
function LinearAlgebra.ldiv!(x::AbstractVector, A::SampleBlocks, b::AbstractVector)
    x === b || copyto!(x, b)
    X = reshape(x, A.n, A.batch)
    for s in 1:(A.batch)
        solve_block!(view(X, :, s), view(A.blocks, :, :, s), view(A.pivots, :, s))
    end
    return x
end

function solve_block!(x, M, pivots)
    n = length(x)
    @inbounds begin
        for k in 1:n
            p = pivots[k]
            p == k || ((x[k], x[p]) = (x[p], x[k]))
        end
        for k in 1:n
            value = x[k]
            @simd for i in (k + 1):n
                x[i] -= M[i, k] * value
            end
        end
        for k in n:-1:1
            value = x[k] /= M[k, k]
            @simd for i in 1:(k - 1)
                x[i] -= M[i, k] * value
            end
        end
    end
    return nothing
end

"Solves with the factors of a matrix that keeps them itself, anew where its entries have changed."
struct BlockLU <: LinearSolve.SciMLLinearSolveAlgorithm end

LinearSolve.needs_concrete_A(::BlockLU) = true

function SciMLBase.solve!(cache::LinearSolve.LinearCache, alg::BlockLU; kwargs...)
    if cache.isfresh
        factorize!(cache.A)
        cache.isfresh = false
    end
    ldiv!(cache.u, cache.A, cache.b)
    return SciMLBase.build_linear_solution(alg, cache.u, nothing, cache; retcode = ReturnCode.Success)
end

"""
    SampleJacobian(system)

Callable `(J, y, theta, t)`: writes df/dy into the [`SampleBlocks`](@ref) `J`, row by row of all blocks at once: a
vector-Jacobian product with the same unit cotangent in every sample gives one row of every block.
"""
struct SampleJacobian{S, V}
    system::S
    y::V
    unit::V
    row::V
end

function SampleJacobian(s::System{T}) where {T}
    n = state_length(s)
    return SampleJacobian(s, zeros(T, n), zeros(T, n), zeros(T, n))
end

prototype(jacobian::SampleJacobian) = prototype(jacobian.system)
prototype(s::System{T}) where {T} = SampleBlocks{T}(rows(s), s.batch)

function (jacobian::SampleJacobian)(J::SampleBlocks, y, theta, t)
    n, blocks = rows(jacobian.system), blocks!(J)
    copyto!(jacobian.y, y) # interpolated at a Float64 time, a state in single precision comes in double
    for r in 1:n
        fill!(jacobian.unit, 0)
        jacobian.unit[r:n:end] .= 1
        pull_state!(jacobian.row, jacobian.unit, jacobian.system, jacobian.y, theta, t)
        blocks[r, :, :] .= reshape(jacobian.row, n, :)
    end
    return nothing
end
