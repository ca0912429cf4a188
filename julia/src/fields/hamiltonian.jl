"""
    Hamiltonian(dim, width, activation)

With g = W' act(W y + b) `(dim,)` in halves (g_q, g_p): f = (g_p, -g_q). Theta: W (width, dim), b.
"""
struct Hamiltonian{A <: Activation} <: Field
    dim::Int
    width::Int
    act::A
end

FIELDS["hamiltonian"] = spec -> Hamiltonian(
    Int(spec["dim"]),
    Int(spec["width"]),
    activation(get(spec, "activation", "tanh")),
)

state_dim(f::Hamiltonian) = f.dim
n_params(f::Hamiltonian) = f.width * (f.dim + 1)

"(g_p, -g_q) for g = (g_q, g_p) `(dim, n)`."
function rotated(G)
    half = size(G, 1) ÷ 2
    return vcat(G[(half + 1):end, :], -G[1:half, :])
end

"`R = (g_p, -g_q)`, in place."
function rotate!(R, G)
    half = size(G, 1) ÷ 2
    @inbounds for n in axes(G, 2), i in 1:half
        R[i, n] = G[half + i, n]
        R[half + i, n] = -G[i, n]
    end
    return R
end

"The cotangent of `rotate!`: the rotation back."
function rotate_back!(G, R)
    half = size(G, 1) ÷ 2
    @inbounds for n in axes(G, 2), i in 1:half
        G[half + i, n] = R[i, n]
        G[i, n] = -R[half + i, n]
    end
    return G
end

function tangents(f::Hamiltonian, theta, t, Y, V)
    M = reshape(theta[1:(f.dim * f.width)], f.dim, f.width)
    P = transpose(M) * Y .+ theta[(f.dim * f.width + 1):end]
    A = value.(Ref(f.act), P)
    V === nothing && return rotated(M * A), nothing
    slopes = slope.(Ref(f.act), P, A)
    return rotated(M * A), rotated(M * ((transpose(M) * V) .* repeat(slopes, 1, size(V, 2) ÷ size(Y, 2))))
end

struct HamiltonianBuffers{T}
    p::Matrix{T} # W y + b (width, batch)
    a::Matrix{T}
    slopes::Matrix{T}
    g::Matrix{T}  # W' a (dim, batch)
    r::Matrix{T}  # W v (width, batch * k)
    s::Matrix{T}  # slopes * r
    gv::Matrix{T} # W' s (dim, batch * k)
    pbar::Matrix{T}
    rbar::Matrix{T}
    sbar::Matrix{T}
    value::Matrix{T}
    pushed::Matrix{T}
    batch::Int
    k::Int
end

function buffers(f::Hamiltonian, ::Type{T}, batch, k) where {T}
    wide(n) = zeros(T, f.width, n)
    states(n) = zeros(T, f.dim, n)
    return HamiltonianBuffers{T}(
        wide(batch),
        wide(batch),
        wide(batch),
        states(batch),
        wide(batch * k),
        wide(batch * k),
        states(batch * k),
        wide(batch),
        wide(batch * k),
        wide(batch * k),
        states(batch),
        states(batch * k),
        batch,
        k,
    )
end

function forward!(buf::HamiltonianBuffers, f::Hamiltonian, theta, t, Y, V)
    M = matrix_at(theta, 0, f.dim, f.width)
    product!(buf.p, M, Y)
    buf.p .+= vector_at(theta, f.dim * f.width, f.width)
    @. buf.a = value((f.act,), buf.p)
    @. buf.slopes = slope((f.act,), buf.p, buf.a)
    pull_input!(buf.g, M, buf.a)
    rotate!(buf.value, buf.g)
    if buf.k > 0
        product!(buf.r, M, V)
        for m in 1:(buf.k)
            columns = ((m - 1) * buf.batch + 1):(m * buf.batch)
            @views @. buf.s[:, columns] = buf.slopes * buf.r[:, columns]
        end
        pull_input!(buf.gv, M, buf.s)
        rotate!(buf.pushed, buf.gv)
    end
    return nothing
end

function backward!(Ybar, theta_bar, buf::HamiltonianBuffers, f::Hamiltonian, theta, t, Y, V, fbar, pushed_bar)
    M = matrix_at(theta, 0, f.dim, f.width)
    gbar = rotate_back!(buf.g, fbar) # the forward value is not needed any more
    product!(buf.pbar, M, gbar)      # cotangent of a, for now
    if buf.k > 0
        gvbar = rotate_back!(buf.gv, pushed_bar)
        product!(buf.sbar, M, gvbar)
    end
    Mbar = theta_bar === nothing ? nothing : matrix_at(theta_bar, 0, f.dim, f.width)
    if Mbar !== nothing
        add_weight!(Mbar, gbar, buf.a)
        buf.k > 0 && add_weight!(Mbar, buf.gv, buf.s)
    end
    @. buf.pbar = buf.slopes * buf.pbar
    for m in 1:(buf.k)
        columns = ((m - 1) * buf.batch + 1):(m * buf.batch)
        @views @. buf.rbar[:, columns] = buf.slopes * buf.sbar[:, columns]
        @views @. buf.pbar += curvature((f.act,), buf.p, buf.a) * buf.r[:, columns] * buf.sbar[:, columns]
    end
    if Mbar !== nothing
        add_weight!(Mbar, Y, buf.pbar)
        buf.k > 0 && add_weight!(Mbar, V, buf.rbar)
        add_columns!(vector_at(theta_bar, f.dim * f.width, f.width), buf.pbar)
    end
    Ybar === nothing || pull_input!(Ybar, M, buf.pbar)
    return nothing
end
