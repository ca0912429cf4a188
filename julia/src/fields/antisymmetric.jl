"""
    Antisymmetric(dim, activation; gamma = 0)

f = act((W - W' - gamma I) y + b). Theta: W, b.
"""
struct Antisymmetric{A <: Activation} <: Field
    dim::Int
    act::A
    gamma::Float64
end

Antisymmetric(dim, act::Activation; gamma = 0.0) = Antisymmetric(Int(dim), act, Float64(gamma))

FIELDS["antisymmetric"] = spec -> Antisymmetric(
    spec["dim"],
    activation(get(spec, "activation", "tanh"));
    gamma = get(spec, "gamma", 0.0),
)

state_dim(f::Antisymmetric) = f.dim
n_params(f::Antisymmetric) = f.dim * (f.dim + 1)

function tangents(f::Antisymmetric, theta, t, Y, V)
    M = reshape(theta[1:(f.dim^2)], f.dim, f.dim)
    P = (transpose(M) - M) * Y .- f.gamma .* Y .+ theta[(f.dim^2 + 1):end]
    value_at = value.(Ref(f.act), P)
    V === nothing && return value_at, nothing
    slopes = slope.(Ref(f.act), P, value_at)
    pushed = (transpose(M) - M) * V .- f.gamma .* V
    return value_at, pushed .* repeat(slopes, 1, size(V, 2) ÷ size(Y, 2))
end

struct AntisymmetricBuffers{T}
    M::Matrix{T} # transpose of W - W' - gamma I
    Mbar::Matrix{T}
    p::Matrix{T}
    slopes::Matrix{T}
    r::Matrix{T} # (W - W' - gamma I) V
    pbar::Matrix{T}
    rbar::Matrix{T}
    value::Matrix{T}
    pushed::Matrix{T}
    batch::Int
    k::Int
end

function buffers(f::Antisymmetric, ::Type{T}, batch, k) where {T}
    square() = zeros(T, f.dim, f.dim)
    states(n) = zeros(T, f.dim, n)
    return AntisymmetricBuffers{T}(
        square(),
        square(),
        states(batch),
        states(batch),
        states(batch * k),
        states(batch),
        states(batch * k),
        states(batch),
        states(batch * k),
        batch,
        k,
    )
end

function forward!(buf::AntisymmetricBuffers{T}, f::Antisymmetric, theta, t, Y, V) where {T}
    d = f.dim
    M, gamma = buf.M, T(f.gamma)
    @inbounds for o in 1:d, i in 1:d
        # theta holds W row by row: W[o, i] stands at (o - 1) d + i
        M[i, o] = theta[(o - 1) * d + i] - theta[(i - 1) * d + o] - (i == o ? gamma : zero(T))
    end
    product!(buf.p, M, Y)
    buf.p .+= vector_at(theta, d^2, d)
    @. buf.value = value((f.act,), buf.p)
    @. buf.slopes = slope((f.act,), buf.p, buf.value)
    if buf.k > 0
        product!(buf.r, M, V)
        for m in 1:(buf.k)
            columns = ((m - 1) * buf.batch + 1):(m * buf.batch)
            @views @. buf.pushed[:, columns] = buf.slopes * buf.r[:, columns]
        end
    end
    return nothing
end

function backward!(
    Ybar,
    theta_bar,
    buf::AntisymmetricBuffers{T},
    f::Antisymmetric,
    theta,
    t,
    Y,
    V,
    fbar,
    pushed_bar,
) where {T}
    d = f.dim
    @. buf.pbar = buf.slopes * fbar
    for m in 1:(buf.k)
        columns = ((m - 1) * buf.batch + 1):(m * buf.batch)
        @views @. buf.rbar[:, columns] = buf.slopes * pushed_bar[:, columns]
        @views @. buf.pbar += curvature((f.act,), buf.p, buf.value) * buf.r[:, columns] * pushed_bar[:, columns]
    end
    if theta_bar !== nothing
        Mbar = fill!(buf.Mbar, zero(T))
        add_weight!(Mbar, Y, buf.pbar)
        buf.k > 0 && add_weight!(Mbar, V, buf.rbar)
        @inbounds for o in 1:d, i in 1:d
            theta_bar[(o - 1) * d + i] += Mbar[i, o] - Mbar[o, i]
        end
        add_columns!(vector_at(theta_bar, d^2, d), buf.pbar)
    end
    Ybar === nothing || pull_input!(Ybar, buf.M, buf.pbar)
    return nothing
end
