"""
    MLP(widths, activation; input_power = 1)

x = y^input_power elementwise, then dense layers with an activation after all but the last. Theta: W, b of each layer.
"""
struct MLP{A <: Activation} <: Field
    chain::DenseChain{A, false}
    power::Int
end

MLP(widths, act::Activation; input_power = 1) = MLP(DenseChain(widths, act; gated = false), Int(input_power))

FIELDS["mlp"] = spec -> MLP(
    spec["widths"],
    activation(get(spec, "activation", "tanh"));
    input_power = get(spec, "input_power", 1),
)

state_dim(f::MLP) = f.chain.widths[1]
n_params(f::MLP) = n_params(f.chain)

function tangents(f::MLP, theta, t, Y, V)
    n = f.power
    n == 1 && return chain_tangents(f.chain, theta, t, Y, V)
    raised = V === nothing ? nothing : V .* repeat(n .* Y.^(n - 1), 1, size(V, 2) ÷ size(Y, 2))
    return chain_tangents(f.chain, theta, t, Y.^n, raised)
end

buffers(f::MLP, ::Type{T}, batch, k) where {T} = ChainBuffers{T}(f.chain, batch, k)

function forward!(buf::ChainBuffers, f::MLP, theta, t, Y, V)
    n = f.power
    if n == 1
        copyto!(buf.x[1], Y)
        buf.k > 0 && copyto!(buf.v[1], V)
    else
        raise!(buf.x[1], Y, n)
        for m in 1:(buf.k)
            columns = ((m - 1) * buf.batch + 1):(m * buf.batch)
            @views @. buf.v[1][:, columns] = n * Y^(n - 1) * V[:, columns]
        end
    end
    return chain_forward!(buf, f.chain, theta, t)
end

"`X = Y^n` elementwise by products: an integer power of a variable exponent is slow."
function raise!(X, Y, n)
    @inbounds for j in eachindex(X, Y)
        y = x = Y[j]
        for _ in 2:n
            x *= y
        end
        X[j] = x
    end
    return X
end

function backward!(Ybar, theta_bar, buf::ChainBuffers, f::MLP, theta, t, Y, V, fbar, pushed_bar)
    chain_backward!(theta_bar, buf, f.chain, theta, t, fbar, pushed_bar; input = Ybar !== nothing)
    Ybar === nothing && return nothing
    n = f.power
    if n == 1
        copyto!(Ybar, buf.xbar[1])
        return nothing
    end
    raise!(Ybar, Y, n - 1)
    @. Ybar = n * Ybar * buf.xbar[1]
    for m in 1:(buf.k)
        columns = ((m - 1) * buf.batch + 1):(m * buf.batch)
        @views @. Ybar += n * (n - 1) * Y^(n - 2) * V[:, columns] * buf.vbar[1][:, columns]
    end
    return nothing
end
