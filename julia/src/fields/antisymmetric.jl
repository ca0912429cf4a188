"""
    Antisymmetric(dim, activation; gamma = 0)

f = act((W - W' - gamma I) y + b). Theta: W, b.
"""
function Antisymmetric(dim, act::UnaryFunction; gamma = 0.0)
    w = TapeWriter("Antisymmetric", Int(dim))
    W, b = weight!(w, "W", dim, dim), parameter!(w, "b", dim)
    forth = operation!(w, "linear", [STATE, W, b], dim)
    back = operation!(w, "linear", [STATE, transposed!(w, W)], dim)
    u = operation!(w, "add", [forth, back], dim; numbers = [1, -1])
    iszero(gamma) || (u = operation!(w, "add", [u, STATE], dim; numbers = [1, -gamma]))
    return Tape(w, operation!(w, act, u, dim))
end

FIELDS["antisymmetric"] = spec -> Antisymmetric(
    spec["dim"],
    activation(get(spec, "activation", "tanh"));
    gamma = get(spec, "gamma", 0.0),
)
