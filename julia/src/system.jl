# The right-hand side of one solve with its cotangents: a field alone, or a flow's state, log-density and running costs.

"""
    FlowState(divergence; kinetic = false, jacobian = false)

What a flow solves for beside z: l with dl/dt = -tr df/dz, then if wanted 1/2 |f|^2 and |df/dz|_F^2. `divergence` is
`"exact"` or `"hutchinson"`; the latter takes probes, and estimates the last cost as |df/dz e|^2.
"""
struct FlowState
    exact::Bool
    kinetic::Bool
    jacobian::Bool
end

function FlowState(divergence::AbstractString; kinetic = false, jacobian = false)
    divergence in ("exact", "hutchinson") && return FlowState(divergence == "exact", kinetic, jacobian)
    throw(InvalidArgument("divergence", divergence, "unknown", "use exact or hutchinson"))
end

n_extra(::Nothing) = 0
n_extra(flow::FlowState) = 1 + flow.kinetic + flow.jacobian

"""
    Work

What a solve cost: `n_f` right-hand sides, `n_vjp` points at which vector-Jacobian products were taken (by state, by
theta, or both), and how many products by state and by theta these were.
"""
mutable struct Work
    n_f::Int
    n_vjp::Int
    by_state::Int
    by_theta::Int
end

Work() = Work(0, 0, 0, 0)

"""
    System(field, batch; flow = nothing, probes = nothing, T = Float64)

dy/dt = f(t, y) on flat states of length `state_length(system)`: sample after sample, each `(dim,)`, or for a flow
(z, l, costs...). Callable as an in-place right-hand side `system(dy, y, theta, t)`; [`vjp!`](@ref) and
[`vjp_theta!`](@ref) are its products. Holds all buffers, so a call allocates next to nothing, and one `System` serves
one task at a time. `work` counts, `cancel[] != 0` stops the solve at its next evaluation.

Each of these calls makes the forward pass at its point. A solve, during which theta stays as it is, makes it once where
several calls ask for the same point.

`probes` `(dim, batch)` are those of Hutchinson's estimate.
"""
mutable struct System{T <: Real, F <: Field, B}
    const field::F
    const flow::Union{Nothing, FlowState} # no type of its own, so that solvers are compiled once for both
    const batch::Int
    const V::Matrix{T} # tangents (dim, batch * k), k = 0 without a flow
    const buffers::B
    const Y::Matrix{T}
    const Ybar::Matrix{T}
    const fbar::Matrix{T}
    const pushed_bar::Matrix{T}
    cancel::Vector{UInt8}
    work::Work
    at::T           # where the buffers' forward pass was made
    fresh::Bool     # whether there was one
    vjp_fresh::Bool # whether a product by state was the last thing done there
end

function System(field::Field, batch::Integer; flow = nothing, probes = nothing, T = Float64)
    dim = state_dim(field)
    V = flow === nothing ? zeros(T, dim, 0) : tangents_of(flow, dim, batch, probes, T)
    k = size(V, 2) ÷ batch
    buf = buffers(field, T, batch, k)
    states(n) = zeros(T, dim, n)
    return System{T, typeof(field), typeof(buf)}(
        field,
        flow,
        batch,
        V,
        buf,
        states(batch),
        states(batch),
        states(batch),
        states(batch * k),
        UInt8[0],
        Work(),
        zero(T),
        false,
        false,
    )
end

"The tangents that a flow needs: the probes, or every unit vector for every sample."
function tangents_of(flow::FlowState, dim, batch, probes, T)
    if flow.exact
        V = zeros(T, dim, batch * dim)
        for i in 1:dim, n in 1:batch
            V[i, (i - 1) * batch + n] = one(T)
        end
        return V
    end
    probes !== nothing && size(probes) == (dim, batch) && return Matrix{T}(probes)
    shown = probes === nothing ? "nothing" : string(size(probes))
    throw(InvalidArgument(
        "probes",
        shown,
        "wrong shape",
        "Hutchinson's estimate needs one probe a sample: ($dim, $batch)",
    ))
end

"""
    state_length(system)

Length of the flat state: (dim + 1 + costs) * batch for a flow, dim * batch without.
"""
state_length(s::System) = rows(s) * s.batch

rows(s::System) = state_dim(s.field) + n_extra(s.flow)

"""
    begin!(system)

Forgets the last point, as theta may be another one, and starts to count from 0.
"""
function begin!(s::System)
    s.work = Work()
    s.fresh = s.vjp_fresh = false
    return s
end

function (s::System)(dy, y, theta, t)
    check_length("dy", dy, state_length(s))
    check_point(s, y, theta)
    s.fresh = false
    return slope!(dy, s, y, theta, t)
end

"Throws [`InvalidArgument`](@ref) where the state or theta has another length than the system needs."
function check_point(s::System, y, theta)
    check_length("y", y, state_length(s))
    check_theta(s.field, theta)
    return nothing
end

"""
    slope!(dy, system, y, theta, t)

The right-hand side for use within a solve: at the last point of another such call it takes the forward pass that was made
there, whatever theta was.
"""
function slope!(dy::AbstractVector{T}, s::System{T}, y::AbstractVector{T}, theta, t::AbstractFloat) where {T <:
    AbstractFloat}
    s.cancel[1] == 0x00 || throw(Cancelled())
    s.work.n_f += 1
    visit!(s, y, theta, t)
    write_slope!(dy, s)
    return nothing
end

# duals, tracked numbers and the like: the same formulas in plain array algebra
function slope!(dy, s::System, y, theta, t)
    s.work.n_f += 1
    dy .= slope_of(s, y, theta, t)
    return nothing
end

"""
    slope_of(system, y, theta, t)

dy/dt as a new vector, for numbers of any type; what AD of the field differentiates.
"""
function slope_of(s::System, y, theta, t)
    s.cancel[1] == 0x00 || throw(Cancelled())
    unseen(() -> check_point(s, y, theta))
    n, dim = rows(s), state_dim(s.field)
    U = reshape(y, n, s.batch)
    s.flow === nothing && return vec(evaluate(s.field, theta, t, U))
    f, pushed = tangents(s.field, theta, t, U[1:dim, :], s.V)
    k = size(s.V, 2) ÷ s.batch
    columns(row) = reshape(sum(reshape(row, s.batch, k); dims = 2), 1, s.batch)
    extra = -columns(sum(s.V .* pushed; dims = 1))
    s.flow.kinetic && (extra = vcat(extra, sum(abs2, f; dims = 1) ./ 2))
    s.flow.jacobian && (extra = vcat(extra, columns(sum(abs2, pushed; dims = 1))))
    # entry by entry: of tracked and other arrays no single `vcat` is the most specific one
    return vec([i <= dim ? f[i, b] : extra[i - dim, b] for i in 1:n, b in 1:(s.batch)])
end

"Makes the forward pass at (t, y), unless it is the point of the last one."
function visit!(s::System{T}, y, theta, t) where {T}
    t = T(t)
    s.fresh && t == s.at && same_point(s, y) && return nothing
    s.fresh = s.vjp_fresh = false
    read_state!(s, y)
    forward!(s.buffers, s.field, theta, t, s.Y, s.V)
    s.at = t
    s.fresh = true
    return nothing
end

function read_state!(s::System, y)
    n = rows(s)
    @inbounds for b in 1:(s.batch), i in axes(s.Y, 1)
        s.Y[i, b] = y[(b - 1) * n + i]
    end
    return nothing
end

function same_point(s::System, y)
    n = rows(s)
    @inbounds for b in 1:(s.batch), i in axes(s.Y, 1)
        s.Y[i, b] == y[(b - 1) * n + i] || return false
    end
    return true
end

function write_slope!(dy, s::System{T}) where {T}
    n, dim, buf = rows(s), state_dim(s.field), s.buffers
    @inbounds for b in 1:(s.batch), i in 1:dim
        dy[(b - 1) * n + i] = buf.value[i, b]
    end
    flow = s.flow
    flow === nothing && return nothing
    @inbounds for b in 1:(s.batch)
        trace = frobenius = kinetic = zero(T)
        for m in b:(s.batch):size(s.V, 2), i in 1:dim
            trace += s.V[i, m] * buf.pushed[i, m]
            frobenius += buf.pushed[i, m]^2
        end
        for i in 1:dim
            kinetic += buf.value[i, b]^2 / 2
        end
        row = (b - 1) * n + dim + 1
        dy[row] = -trace
        flow.kinetic && (dy[row += 1] = kinetic)
        flow.jacobian && (dy[row += 1] = frobenius)
    end
    return nothing
end

"From the cotangent `v` of the slope to those of the field's value and of its pushed tangents."
function read_cotangent!(s::System{T}, v) where {T}
    n, dim, buf = rows(s), state_dim(s.field), s.buffers
    @inbounds for b in 1:(s.batch), i in 1:dim
        s.fbar[i, b] = v[(b - 1) * n + i]
    end
    flow = s.flow
    flow === nothing && return nothing
    @inbounds for b in 1:(s.batch)
        row = (b - 1) * n + dim + 1
        trace_bar = -v[row]
        kinetic_bar = flow.kinetic ? v[row += 1] : zero(T)
        frobenius_bar = flow.jacobian ? v[row += 1] : zero(T)
        for i in 1:dim
            s.fbar[i, b] += kinetic_bar * buf.value[i, b]
        end
        for m in b:(s.batch):size(s.V, 2), i in 1:dim
            s.pushed_bar[i, m] = trace_bar * s.V[i, m] + 2 * frobenius_bar * buf.pushed[i, m]
        end
    end
    return nothing
end

# A stiff solver differentiates these products with dual numbers, by the state of the adjoint or by time.

is_plain(::System{T}, v, y, t) where {T <: AbstractFloat} = eltype(v) === T && eltype(y) === T && t isa AbstractFloat
is_plain(::System, v, y, t) = true

"A system like `s` for the numbers that `v`, `y` and `t` bring, with the same counts."
function dual_copy(s::System{T}, v, y, t) where {T}
    D = promote_type(T, eltype(v), eltype(y), typeof(t))
    probes = s.flow === nothing || s.flow.exact ? nothing : s.V
    copied = System(s.field, s.batch; flow = s.flow, probes = probes, T = D)
    copied.cancel = s.cancel
    copied.work = s.work
    return copied
end

"""
    vjp!(Jv, v, system, y, theta, t)

`Jv = (df/dy)' v` on flat states.
"""
function vjp!(Jv, v, s::System, y, theta, t)
    check_length("Jv", Jv, state_length(s))
    check_length("v", v, state_length(s))
    check_point(s, y, theta)
    s.fresh = false
    return pull_state!(Jv, v, s, y, theta, t)
end

"[`vjp!`](@ref) for use within a solve, see [`slope!`](@ref)."
function pull_state!(Jv, v, s::System{T}, y, theta, t) where {T}
    s.cancel[1] == 0x00 || throw(Cancelled())
    is_plain(s, v, y, t) || return pull_state!(Jv, v, dual_copy(s, v, y, t), y, theta, t)
    visit!(s, y, theta, t)
    s.work.n_vjp += 1
    s.work.by_state += 1
    s.vjp_fresh = true
    read_cotangent!(s, v)
    backward!(s.Ybar, nothing, s.buffers, s.field, theta, T(t), s.Y, s.V, s.fbar, s.pushed_bar)
    write_cotangent!(Jv, s)
    return nothing
end

"""
    vjp_theta!(Jv, v, system, y, theta, t)

`Jv = (df/dtheta)' v`, `(n_params,)`.
"""
function vjp_theta!(Jv, v, s::System, y, theta, t)
    check_length("Jv", Jv, n_params(s.field))
    check_length("v", v, state_length(s))
    check_point(s, y, theta)
    s.fresh = false
    return pull_theta!(Jv, v, s, y, theta, t)
end

"[`vjp_theta!`](@ref) for use within a solve, see [`slope!`](@ref)."
function pull_theta!(Jv, v, s::System{T}, y, theta, t) where {T}
    s.cancel[1] == 0x00 || throw(Cancelled())
    is_plain(s, v, y, t) || return pull_theta!(Jv, v, dual_copy(s, v, y, t), y, theta, t)
    visit!(s, y, theta, t)
    s.vjp_fresh || (s.work.n_vjp += 1) # else the same product, its other half
    s.vjp_fresh = false
    s.work.by_theta += 1
    read_cotangent!(s, v)
    fill!(Jv, zero(T))
    backward!(nothing, Jv, s.buffers, s.field, theta, T(t), s.Y, s.V, s.fbar, s.pushed_bar)
    return nothing
end

"""
    vjp_both!(Jv, theta_bar, v, system, y, theta, t)

`Jv = (df/dy)' v` and `theta_bar += (df/dtheta)' v` in one pass, for use within a solve, see [`slope!`](@ref).
"""
function vjp_both!(Jv, theta_bar, v, s::System{T}, y, theta, t) where {T}
    s.cancel[1] == 0x00 || throw(Cancelled())
    visit!(s, y, theta, t)
    s.work.n_vjp += 1
    s.work.by_state += 1
    s.work.by_theta += 1
    s.vjp_fresh = false
    read_cotangent!(s, v)
    backward!(s.Ybar, theta_bar, s.buffers, s.field, theta, T(t), s.Y, s.V, s.fbar, s.pushed_bar)
    write_cotangent!(Jv, s)
    return nothing
end

function write_cotangent!(Jv, s::System{T}) where {T}
    n, dim = rows(s), state_dim(s.field)
    @inbounds for b in 1:(s.batch)
        for i in 1:dim
            Jv[(b - 1) * n + i] = s.Ybar[i, b]
        end
        for i in (dim + 1):n
            Jv[(b - 1) * n + i] = zero(T) # the slope knows nothing of l and the costs
        end
    end
    return nothing
end
