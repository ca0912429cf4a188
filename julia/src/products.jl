# The products of a linear map with its matrix as theta holds it: M = W' (in, out) for a row-major W.
#
# Each of them sets its first argument, or adds to it. A BLAS call costs more than a small product, and its products of
# matrices are slow for one or two columns: there plain loops win. Where M has very few rows, as that of a field's first
# layer, the long loop must be the inner one.

const LOOP_LIMIT = 512 # multiplications
const FEW_COLUMNS, FEW_ROWS = 2, 4

"Whether a product of M with n columns takes BLAS."
takes_blas(M, n) = n > FEW_COLUMNS && length(M) * n > LOOP_LIMIT

"`U = M' X` for M (in, out), X (in, n), U (out, n), or added to it."
function product!(U::AbstractMatrix{T}, M::AbstractMatrix, X::AbstractMatrix, adds = false) where {T}
    with_few_rows(rows -> product!(U, M, X, adds, rows), size(M, 1)) && return U
    if takes_blas(M, size(X, 2))
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
    with_few_rows(rows -> pull_input!(X, M, U, adds, rows), size(M, 1)) && return X
    if takes_blas(M, size(U, 2))
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
    with_few_rows(rows -> add_weight!(Mbar, X, U, rows), size(Mbar, 1)) && return Mbar
    takes_blas(Mbar, size(X, 2)) && return mul!(Mbar, X, transpose(U), one(T), one(T))
    @inbounds for j in axes(X, 2), o in axes(U, 1)
        u = U[o, j]
        @simd ivdep for i in axes(X, 1)
            Mbar[i, o] += X[i, j] * u
        end
    end
    return Mbar
end

"Calls `work` with the number of rows as a type, where they are few; says whether it did."
@inline function with_few_rows(work::W, rows) where {W}
    rows == 1 ? work(Val(1)) : rows == 2 ? work(Val(2)) : rows == 3 ? work(Val(3)) : rows == 4 ? work(Val(4)) : nothing
    return 1 <= rows <= FEW_ROWS
end

"Writes `definitions` for each number of rows up to [`FEW_ROWS`](@ref), for which ROWS stands in them, and REST for one less."
macro for_few_rows(definitions)
    return esc(Expr(:block, (with_rows(definitions, rows) for rows in 1:FEW_ROWS)...))
end

with_rows(x, rows) = x === :ROWS ? rows : x === :REST ? rows - 1 : x
with_rows(x::Expr, rows) = Expr(x.head, (with_rows(part, rows) for part in x.args)...)

# The same three for a known number of rows: `@nexprs` writes a statement for each of them.
@for_few_rows begin
    function product!(U::AbstractMatrix, M::AbstractMatrix, X::AbstractMatrix, adds, ::Val{ROWS})
        @inbounds for j in axes(X, 2)
            @nexprs ROWS i -> x_i = X[i, j]
            if adds
                @simd ivdep for o in axes(U, 1)
                    @nexprs ROWS i -> U[o, j] += M[(o - 1) * ROWS + i] * x_i
                end
            else
                @simd ivdep for o in axes(U, 1)
                    u = M[(o - 1) * ROWS + 1] * x_1
                    @nexprs REST i -> u += M[(o - 1) * ROWS + i + 1] * x_{i + 1}
                    U[o, j] = u
                end
            end
        end
        return U
    end

    function pull_input!(X::AbstractMatrix{T}, M::AbstractMatrix, U::AbstractMatrix, adds, ::Val{ROWS}) where {T}
        @inbounds for j in axes(U, 2)
            @nexprs ROWS i -> s_i = zero(T)
            @simd for o in axes(U, 1)
                @nexprs ROWS i -> s_i += M[(o - 1) * ROWS + i] * U[o, j]
            end
            @nexprs ROWS i -> X[i, j] = adds ? X[i, j] + s_i : s_i
        end
        return X
    end

    function add_weight!(Mbar::AbstractMatrix, X::AbstractMatrix, U::AbstractMatrix, ::Val{ROWS})
        @inbounds for j in axes(X, 2)
            @nexprs ROWS i -> x_i = X[i, j]
            @simd ivdep for o in axes(U, 1)
                @nexprs ROWS i -> Mbar[(o - 1) * ROWS + i] += x_i * U[o, j]
            end
        end
        return Mbar
    end
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
