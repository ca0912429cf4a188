# The three products of a dense layer with its transposed weight M = W' (in, out), which is how theta holds a row-major W.
#
# A BLAS call costs more than a small product; below LOOP_LIMIT multiplications plain loops win.

const LOOP_LIMIT = 2048

"`U = M' X` for M (in, out), X (in, n), U (out, n)."
function product!(U::AbstractMatrix{T}, M::AbstractMatrix, X::AbstractMatrix) where {T}
    length(M) * size(X, 2) > LOOP_LIMIT && return mul!(U, transpose(M), X)
    @inbounds for j in axes(X, 2), o in axes(M, 2)
        s = zero(T)
        @simd for i in axes(M, 1)
            s += M[i, o] * X[i, j]
        end
        U[o, j] = s
    end
    return U
end

"`X = M U` for M (in, out), U (out, n), X (in, n): the cotangent of a layer's input."
function pull_input!(X::AbstractMatrix{T}, M::AbstractMatrix, U::AbstractMatrix) where {T}
    length(M) * size(U, 2) > LOOP_LIMIT && return mul!(X, M, U)
    fill!(X, zero(T))
    @inbounds for j in axes(U, 2), o in axes(M, 2)
        u = U[o, j]
        @simd for i in axes(M, 1)
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
        @simd for i in axes(X, 1)
            Mbar[i, o] += X[i, j] * u
        end
    end
    return Mbar
end

"`b += sum of the columns of U`, for b (out,), U (out, n)."
function add_columns!(b::AbstractVector, U::AbstractMatrix)
    @inbounds for j in axes(U, 2)
        @simd for o in axes(U, 1)
            b[o] += U[o, j]
        end
    end
    return b
end

"The (in, out) matrix that `theta` holds from position `at + 1` on."
matrix_at(theta, at, in, out) = reshape(view(theta, (at + 1):(at + in * out)), in, out)

"The vector of length `n` that `theta` holds from position `at + 1` on."
vector_at(theta, at, n) = view(theta, (at + 1):(at + n))
