"""
    MLP(widths, activation; input_power = 1)

x = y^input_power elementwise, then dense layers with an activation after all but the last. Theta: W, b of each layer.
"""
function MLP(widths, act::UnaryFunction; input_power = 1)
    widths = checked_widths(widths)
    w = TapeWriter("MLP", widths[1])
    x = input_power == 1 ? STATE : operation!(w, "power", [STATE], w.dim; numbers = [input_power])
    for (k, (i, o)) in enumerate(zip(widths, widths[2:end]))
        W, b = weight!(w, "W$(k - 1)", o, i), parameter!(w, "b$(k - 1)", o)
        x = operation!(w, "linear", [x, W, b], o)
        k == length(widths) - 1 || (x = operation!(w, act, x, o))
    end
    return Tape(w, x)
end

FIELDS["mlp"] = spec -> MLP(
    spec["widths"],
    activation(get(spec, "activation", "tanh"));
    input_power = get(spec, "input_power", 1),
)
