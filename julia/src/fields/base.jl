# Vector fields dy/dt = f(t, y; theta): the same specifications and the same flat theta as in pynode/fields.

"""
    Field

A vector field on states `Y` `(dim, batch)` with flat parameters `theta`, tensor by tensor, each row by row.

All fields of this package are a [`Tape`](@ref). Another one is a struct with

- `state_dim(field)`, `n_params(field)`;
- `tangents(field, theta, t, Y, V)`: `f` and its Jacobian times the `k` tangents `V` `(dim, batch * k)` (one block of
  `batch` columns after another; `nothing` for none), in plain array algebra for numbers of any type;
- `buffers(field, T, batch, k)`, `forward!(buf, field, theta, t, Y, V)`: the same without allocation, into
  `buf.value` `(dim, batch)` and `buf.pushed` `(dim, batch * k)`; `V` is not read where k = 0;
- `backward!(Ybar, theta_bar, buf, field, theta, t, Y, V, fbar, pushed_bar)`: the cotangents, after a `forward!` at the
  same point. `Ybar` is overwritten, `theta_bar` added to; either may be `nothing`.
"""
abstract type Field end

"""
    evaluate(field, theta, t, Y)

f(t, Y; theta) `(dim, batch)` in plain array algebra, for numbers of any type.
"""
evaluate(field::Field, theta, t, Y) = first(tangents(field, theta, t, Y, nothing))

"Architectures by name; every file in `fields/` adds its own."
const FIELDS = Dict{String, Function}()

"""
    field_from_spec(spec)

The field of a specification as pynode writes it: `"architecture"` and its sizes, or a tape.
"""
function field_from_spec(spec::AbstractDict)
    name = get(spec, "architecture", "")
    if !haskey(FIELDS, name)
        known = join(sort!(collect(keys(FIELDS))), ", ")
        throw(InvalidArgument("architecture", name, "unknown", "use one of $known"))
    end
    return FIELDS[name](spec)
end

"Throws `InvalidArgument` unless `theta` has the length that `field` needs."
function check_theta(field::Field, theta)
    length(theta) == n_params(field) && return nothing
    throw(InvalidArgument("theta", "length $(length(theta))", "wrong length", "this field needs $(n_params(field))"))
end
