"""
    ConcatSquash(widths, activation)

Layers x -> (W x + b) * sigmoid(w_g t + b_g) + w_b t, the activation after all but the last. Theta: W, b, w_g, b_g, w_b
of each layer.
"""
struct ConcatSquash{A <: Activation} <: Field
    chain::DenseChain{A, true}
end

ConcatSquash(widths, act::Activation) = ConcatSquash(DenseChain(widths, act; gated = true))

FIELDS["concatsquash"] = spec -> ConcatSquash(spec["widths"], activation(get(spec, "activation", "tanh")))

state_dim(f::ConcatSquash) = f.chain.widths[1]
n_params(f::ConcatSquash) = n_params(f.chain)

tangents(f::ConcatSquash, theta, t, Y, V) = chain_tangents(f.chain, theta, t, Y, V)

buffers(f::ConcatSquash, ::Type{T}, batch, k) where {T} = ChainBuffers{T}(f.chain, batch, k)

function forward!(buf::ChainBuffers, f::ConcatSquash, theta, t, Y, V)
    copyto!(buf.x[1], Y)
    buf.k > 0 && copyto!(buf.v[1], V)
    return chain_forward!(buf, f.chain, theta, t)
end

function backward!(Ybar, theta_bar, buf::ChainBuffers, f::ConcatSquash, theta, t, Y, V, fbar, pushed_bar)
    chain_backward!(theta_bar, buf, f.chain, theta, t, fbar, pushed_bar; input = Ybar !== nothing)
    Ybar === nothing || copyto!(Ybar, buf.xbar[1])
    return nothing
end
