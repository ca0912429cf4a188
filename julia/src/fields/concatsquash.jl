"""
    ConcatSquash(widths, activation)

Layers x -> (W x + b) * sigmoid(w_g t + b_g) + w_b t, the activation after all but the last. Theta: W, b, w_g, b_g, w_b
of each layer.
"""
function ConcatSquash(widths, act::UnaryFunction)
    widths = checked_widths(widths)
    w = TapeWriter("ConcatSquash", widths[1])
    x = STATE
    for (k, (i, o)) in enumerate(zip(widths, widths[2:end]))
        W, b = weight!(w, "W$(k - 1)", o, i), parameter!(w, "b$(k - 1)", o)
        w_g, b_g = time_weight!(w, "w_g$(k - 1)", o), parameter!(w, "b_g$(k - 1)", o)
        w_b = time_weight!(w, "w_b$(k - 1)", o)
        grown = operation!(w, "multiply", [w_g, TIME], o)
        gate = operation!(w, Sigmoid(), operation!(w, "add", [grown, b_g], o; numbers = [1, 1]), o)
        shift = operation!(w, "multiply", [w_b, TIME], o)
        u = operation!(w, "linear", [x, W, b], o)
        x = operation!(w, "add", [operation!(w, "multiply", [u, gate], o), shift], o; numbers = [1, 1])
        k == length(widths) - 1 || (x = operation!(w, act, x, o))
    end
    return Tape(w, x)
end

FIELDS["concatsquash"] = spec -> ConcatSquash(spec["widths"], activation(get(spec, "activation", "tanh")))
