# The products of a linear map with its matrix as theta holds it: M = W' (in, out) for a row-major W.
#
# A BLAS call costs more than a small product; below LOOP_LIMIT multiplications plain loops win. Each of them sets its
# first argument, or adds to it.

const LOOP_LIMIT = 2048

"`U = M' X` for M (in, out), X (in, n), U (out, n), or added to it."
function product!(U::AbstractMatrix{T}, M::AbstractMatrix, X::AbstractMatrix, adds = false) where {T}
    if length(M) * size(X, 2) > LOOP_LIMIT
        return adds ? mul!(U, transpose(M), X, one(T), one(T)) : mul!(U, transpose(M), X)
    end
    @inbounds for j in axes(X, 2), o in axes(M, 2)
        s = zero(T)
        @simd for i in axes(M, 1)
            s += M[i, o] * X[i, j]
        end
        U[o, j] = adds ? U[o, j] + s : s
    end
    return U
end

"`X = M U` for M (in, out), U (out, n), X (in, n), or added to it: the cotangent of a layer's input."
function pull_input!(X::AbstractMatrix{T}, M::AbstractMatrix, U::AbstractMatrix, adds = false) where {T}
    if length(M) * size(U, 2) > LOOP_LIMIT
        return adds ? mul!(X, M, U, one(T), one(T)) : mul!(X, M, U)
    end
    adds || fill!(X, zero(T))
    @inbounds for j in axes(U, 2), o in axes(M, 2)
        u = U[o, j]
        @simd ivdep for i in axes(M, 1)
            X[i, j] += M[i, o] * u
        end
    end
    return X
end

"`Mbar += X U'` for X (in, n), U (out, n), Mbar (in, out): the cotangent of a layer's weight."
function add_weight!(Mbar::AbstractMatrix{T}, X::AbstractMatrix, U::AbstractMatrix) where {T}
    length(Mbar) * size(X, 2) > LOOP_LIMIT && return mul!(Mbar, X, transpose(U), one(T), one(T))
    @inbounds for j in axes(X, 2), o in axes(U, 1)
        u = U[o, j]
        @simd ivdep for i in axes(X, 1)
            Mbar[i, o] += X[i, j] * u
        end
    end
    return Mbar
end

"`b += sum of the columns of U`, for b (out,), U (out, n)."
function add_columns!(b::AbstractVector, U::AbstractMatrix)
    @inbounds for j in axes(U, 2)
        @simd ivdep for o in axes(U, 1)
            b[o] += U[o, j]
        end
    end
    return b
end

"`U = b` in every column, for b (out,), U (out, n)."
function set_columns!(U::AbstractMatrix, b::AbstractVector)
    @inbounds for j in axes(U, 2)
        @simd ivdep for o in axes(U, 1)
            U[o, j] = b[o]
        end
    end
    return U
end

"The (in, out) matrix that `theta` holds from position `at + 1` on."
matrix_at(theta, at, in, out) = reshape(view(theta, (at + 1):(at + in * out)), in, out)

"The vector of length `n` that `theta` holds from position `at + 1` on."
vector_at(theta, at, n) = view(theta, (at + 1):(at + n))
