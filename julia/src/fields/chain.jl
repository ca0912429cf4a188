# Chains of dense layers, gated by time or not: value, tangents and cotangents.
#
# A layer is x -> q = u * g + s with u = W x + b; gate g and shift s depend on time alone; an activation stands between
# layers. A tangent v goes along as v -> g * (W v), then times the activation's slope.

"""
    DenseChain{A,Gated}(widths, act)

Layers of sizes `widths`; with `Gated`, g = sigmoid(w_g t + b_g), s = w_b t and theta holds W, b, w_g, b_g, w_b of each
layer, else W, b.
"""
struct DenseChain{A <: Activation, Gated}
    widths::Vector{Int}
    act::A
end

DenseChain(widths, act::A; gated) where {A <: Activation} = DenseChain{A, gated}(collect(Int, widths), act)

n_layers(c::DenseChain) = length(c.widths) - 1
layer_size(::DenseChain{A, true}, i, o) where {A} = o * (i + 4)
layer_size(::DenseChain{A, false}, i, o) where {A} = o * (i + 1)
n_params(c::DenseChain) = sum(layer_size(c, c.widths[k], c.widths[k + 1]) for k in 1:n_layers(c))

is_gated(::DenseChain{A, G}) where {A, G} = G

"What one pass through a chain leaves for the way back; `k` tangents stand side by side as blocks of columns."
struct ChainBuffers{T}
    x::Vector{Matrix{T}}      # input of each layer (in, batch)
    u::Vector{Matrix{T}}      # W x + b (out, batch)
    q::Vector{Matrix{T}}      # u * g + s (out, batch)
    slopes::Vector{Matrix{T}} # of the activation at q
    g::Vector{Vector{T}}      # gates (out,)
    s::Vector{Vector{T}}      # shifts (out,)
    v::Vector{Matrix{T}}      # tangents into each layer (in, batch * k)
    r::Vector{Matrix{T}}      # W v (out, batch * k)
    qbar::Vector{Matrix{T}}
    ubar::Vector{Matrix{T}}
    xbar::Vector{Matrix{T}}
    pbar::Vector{Matrix{T}} # cotangent of g * r (out, batch * k)
    rbar::Vector{Matrix{T}}
    vbar::Vector{Matrix{T}}
    gbar::Vector{Vector{T}}
    value::Matrix{T}
    pushed::Matrix{T}
    batch::Int
    k::Int
end

function ChainBuffers{T}(c::DenseChain, batch::Int, k::Int) where {T}
    ins, outs = c.widths[1:(end - 1)], c.widths[2:end]
    columns(sizes, n) = [zeros(T, size, n) for size in sizes]
    vectors() = [zeros(T, size) for size in outs]
    last = c.widths[end]
    return ChainBuffers{T}(
        columns(ins, batch),
        columns(outs, batch),
        columns(outs, batch),
        columns(outs, batch),
        vectors(),
        vectors(),
        columns(ins, batch * k),
        columns(outs, batch * k),
        columns(outs, batch),
        columns(outs, batch),
        columns(ins, batch),
        columns(outs, batch * k),
        columns(outs, batch * k),
        columns(ins, batch * k),
        vectors(),
        zeros(T, last, batch),
        zeros(T, last, batch * k),
        batch,
        k,
    )
end

"""
    chain_tangents(chain, theta, t, X, V)

The chain at `X` `(in, batch)` and its Jacobian times `V` `(in, batch * k)` or `nothing`; allocates, any number type.
"""
function chain_tangents(c::DenseChain, theta, t, X, V)
    at = 0
    for k in 1:n_layers(c)
        i, o = c.widths[k], c.widths[k + 1]
        M = reshape(theta[(at + 1):(at + i * o)], i, o)
        b = theta[(at + i * o + 1):(at + i * o + o)]
        at += i * o + o
        X = transpose(M) * X .+ b
        V = V === nothing ? nothing : transpose(M) * V
        if is_gated(c)
            g = sigmoid.(theta[(at + 1):(at + o)] .* t .+ theta[(at + o + 1):(at + 2o)])
            X = X .* g .+ theta[(at + 2o + 1):(at + 3o)] .* t
            V = V === nothing ? nothing : V .* g
            at += 3o
        end
        if k < n_layers(c)
            A = value.(Ref(c.act), X)
            V = V === nothing ? nothing : V .* repeat(slope.(Ref(c.act), X, A), 1, size(V, 2) ÷ size(X, 2))
            X = A
        end
    end
    return X, V
end

"Fills `buf` from the inputs `buf.x[1]` and `buf.v[1]`."
function chain_forward!(buf::ChainBuffers{T}, c::DenseChain, theta, t) where {T}
    at, L = 0, n_layers(c)
    for k in 1:L
        i, o = c.widths[k], c.widths[k + 1]
        M, b = matrix_at(theta, at, i, o), vector_at(theta, at + i * o, o)
        at += i * o + o
        product!(buf.u[k], M, buf.x[k])
        buf.k > 0 && product!(buf.r[k], M, buf.v[k])
        if is_gated(c)
            gate!(buf, k, theta, at, o, T(t))
            at += 3o
            @. buf.u[k] = buf.u[k] + b
            @. buf.q[k] = buf.u[k] * buf.g[k] + buf.s[k]
        else
            @. buf.q[k] = buf.u[k] + b
        end
        k < L && activate!(buf, c, k)
    end
    copyto!(buf.value, buf.q[L])
    buf.k > 0 && (is_gated(c) ? (@. buf.pushed = buf.r[L] * buf.g[L]) : copyto!(buf.pushed, buf.r[L]))
    return nothing
end

"Gate and shift of layer `k` at time `t`; theta holds w_g, b_g, w_b from `at + 1` on."
function gate!(buf::ChainBuffers, k, theta, at, o, t)
    g, s = buf.g[k], buf.s[k]
    @inbounds for j in 1:o
        g[j] = sigmoid(theta[at + j] * t + theta[at + o + j])
        s[j] = theta[at + 2o + j] * t
    end
    return nothing
end

"Activation after layer `k`: the next layer's input, and its tangents."
function activate!(buf::ChainBuffers, c::DenseChain, k)
    q, a, d, act = buf.q[k], buf.x[k + 1], buf.slopes[k], c.act
    @inbounds @simd for j in eachindex(q)
        a[j] = value(act, q[j])
    end
    buf.k == 0 && return nothing
    @inbounds for j in eachindex(q)
        d[j] = slope(act, q[j], a[j])
    end
    v, r, g = buf.v[k + 1], buf.r[k], buf.g[k]
    @inbounds for m in 1:(buf.k), n in 1:(buf.batch)
        column = (m - 1) * buf.batch + n
        for j in axes(d, 1)
            v[j, column] = d[j, n] * (is_gated(c) ? g[j] * r[j, column] : r[j, column])
        end
    end
    return nothing
end

"""
    chain_backward!(theta_bar, buf, chain, theta, t, fbar, pushed_bar; input)

Adds the parameters' cotangent to `theta_bar` (or `nothing`); with `input` leaves those of the chain's input and of its
tangents in `buf.xbar[1]` and `buf.vbar[1]`.
"""
function chain_backward!(theta_bar, buf::ChainBuffers{T}, c::DenseChain, theta, t, fbar, pushed_bar; input) where {T}
    L, at = n_layers(c), n_params(c)
    copyto!(buf.qbar[L], fbar)
    buf.k > 0 && copyto!(buf.pbar[L], pushed_bar)
    for k in L:-1:1
        i, o = c.widths[k], c.widths[k + 1]
        at -= layer_size(c, i, o)
        ubar, rbar = buf.qbar[k], buf.pbar[k]
        if is_gated(c)
            theta_bar === nothing || gate_cotangents!(theta_bar, buf, k, at + i * o + o, o, T(t))
            @. buf.ubar[k] = ubar * buf.g[k]
            buf.k > 0 && (@. buf.rbar[k] = rbar * buf.g[k])
            ubar, rbar = buf.ubar[k], buf.rbar[k]
        end
        if theta_bar !== nothing
            Mbar = matrix_at(theta_bar, at, i, o)
            add_weight!(Mbar, buf.x[k], ubar)
            buf.k > 0 && add_weight!(Mbar, buf.v[k], rbar)
            add_columns!(vector_at(theta_bar, at + i * o, o), ubar)
        end
        if k > 1 || input
            M = matrix_at(theta, at, i, o)
            pull_input!(buf.xbar[k], M, ubar)
            buf.k > 0 && pull_input!(buf.vbar[k], M, rbar)
        end
        k > 1 && deactivate!(buf, c, k - 1)
    end
    return nothing
end

"Cotangents of w_g, b_g, w_b of layer `k`, which theta holds from `at + 1` on."
function gate_cotangents!(theta_bar, buf::ChainBuffers{T}, k, at, o, t) where {T}
    qbar, u, pbar, r, g, gbar = buf.qbar[k], buf.u[k], buf.pbar[k], buf.r[k], buf.g[k], buf.gbar[k]
    fill!(gbar, zero(T))
    @inbounds for n in axes(qbar, 2), j in 1:o
        gbar[j] += qbar[j, n] * u[j, n]
        theta_bar[at + 2o + j] += qbar[j, n] * t
    end
    @inbounds for n in axes(pbar, 2), j in 1:o
        gbar[j] += pbar[j, n] * r[j, n]
    end
    @inbounds for j in 1:o
        d = gbar[j] * g[j] * (one(T) - g[j])
        theta_bar[at + j] += d * t
        theta_bar[at + o + j] += d
    end
    return nothing
end

"From the cotangents of layer `k + 1`'s input and tangents back through the activation to `qbar` and `pbar` of layer `k`."
function deactivate!(buf::ChainBuffers{T}, c::DenseChain, k) where {T}
    q, a, d, act = buf.q[k], buf.x[k + 1], buf.slopes[k], c.act
    qbar, xbar = buf.qbar[k], buf.xbar[k + 1]
    if buf.k == 0
        @inbounds @simd for j in eachindex(q)
            qbar[j] = slope(act, q[j], a[j]) * xbar[j]
        end
        return nothing
    end
    pbar, vbar, r, g = buf.pbar[k], buf.vbar[k + 1], buf.r[k], buf.g[k]
    @inbounds for n in 1:(buf.batch), j in axes(q, 1)
        pulled = zero(T)
        for m in 1:(buf.k)
            column = (m - 1) * buf.batch + n
            p = is_gated(c) ? g[j] * r[j, column] : r[j, column]
            pulled += p * vbar[j, column]
            pbar[j, column] = d[j, n] * vbar[j, column]
        end
        qbar[j, n] = d[j, n] * xbar[j, n] + curvature(act, q[j, n], a[j, n]) * pulled
    end
    return nothing
end
