"""
    Hamiltonian(dim, width, activation)

With g = W' act(W y + b) `(dim,)` in halves (g_q, g_p): f = (g_p, -g_q). Theta: W (width, dim), b.
"""
function Hamiltonian(dim, width, act::UnaryFunction)
    w, half = TapeWriter("Hamiltonian", Int(dim)), dim ÷ 2
    W, b = weight!(w, "W", width, dim), parameter!(w, "b", width)
    a = operation!(w, act, operation!(w, "linear", [STATE, W, b], width), width)
    g = operation!(w, "linear", [a, transposed!(w, W)], dim)
    negative = operation!(w, "affine", [g], dim; numbers = [-1, 0])
    runs = [Run(1, half, 1, 0, 1, half), Run(2, 0, 1, half, 1, half)]
    return Tape(w, operation!(w, "move", [g, negative], dim; runs))
end

FIELDS["hamiltonian"] = spec -> Hamiltonian(
    Int(spec["dim"]),
    Int(spec["width"]),
    activation(get(spec, "activation", "tanh")),
)
