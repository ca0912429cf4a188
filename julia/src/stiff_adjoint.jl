# The interpolating and the quadrature adjoint under a stiff solver.
#
# SciMLSensitivity alone would make a dense matrix of states and parameters for the one, whose state holds the parameters'
# gradient; its rows of the linear systems follow from one product. Of the other it would miss what happens within a fast layer
# of the state or of the adjoint, as its quadratures know of one solution's steps at most.

"""
    BorderedBlocks(jacobian, theta)

Jacobian of (lambda, gradient)' = (-(df/dy)' lambda, -(df/dtheta)' lambda): blocks for lambda, the rows of the gradient known
by their product with a vector at `(y, t)`, zero columns for the gradient. With `diagonal` in the gradient's columns it is
the matrix of a stiff solver's step.
"""
mutable struct BorderedBlocks{T, S} <: AbstractMatrix{T}
    const top::SampleBlocks{T}
    const system::S
    const theta::Vector{T}
    const y::Vector{T}
    t::Float64
    diagonal::T
end

function BorderedBlocks(s::System{T}, theta) where {T}
    return BorderedBlocks{T, typeof(s)}(prototype(s), s, theta, zeros(T, state_length(s)), 0.0, zero(T))
end

Base.size(A::BorderedBlocks) = size(A.top) .+ length(A.theta)
Base.similar(A::BorderedBlocks) = BorderedBlocks(A.system, A.theta)
Base.similar(A::BorderedBlocks{T}, ::Type{T}) where {T} = similar(A)

function Base.copyto!(A::BorderedBlocks, B::BorderedBlocks)
    copyto!(A.top, B.top)
    copyto!(A.y, B.y)
    A.t, A.diagonal = B.t, B.diagonal
    return A
end

Base.@propagate_inbounds function Base.getindex(A::BorderedBlocks{T}, i::Int, j::Int) where {T}
    @boundscheck checkbounds(A, i, j)
    n = size(A.top, 1)
    i <= n && j <= n && return A.top[i, j]
    i > n && j <= n && throw(ArgumentError("the rows of the gradient are known by their products only"))
    return i == j ? A.diagonal : zero(T)
end

# a solver writes the diagonal, which is the same in all of the gradient's columns
Base.@propagate_inbounds function Base.setindex!(A::BorderedBlocks, value, i::Int, j::Int)
    @boundscheck checkbounds(A, i, j)
    n = size(A.top, 1)
    if i <= n && j <= n
        A.top[i, j] = value
    elseif i == j
        A.diagonal = value
    else
        throw(ArgumentError("entry ($i, $j) lies outside of the blocks and the diagonal"))
    end
    return A
end

LinearAlgebra.opnorm(A::BorderedBlocks, p::Real = Inf) = opnorm(A.top, p)
factorize!(A::BorderedBlocks) = factorize!(A.top)

function LinearAlgebra.ldiv!(x::AbstractVector, A::BorderedBlocks, b::AbstractVector)
    n = size(A.top, 1)
    lambda, gradient = view(x, 1:n), view(x, (n + 1):length(x))
    ldiv!(lambda, A.top, view(b, 1:n))
    pull_theta!(gradient, lambda, A.system, A.y, A.theta, A.t)
    gradient .= (gradient .+ view(b, (n + 1):length(b))) ./ A.diagonal
    return x
end

"""
    stiff_interpolating(sol, theta, solver; t, dgdu_discrete, sensealg, options...)

`adjoint_sensitivities` with `sensealg` an InterpolatingAdjoint and a stiff `solver`, on the dense solution `sol` of a problem
with a [`SampleJacobian`](@ref); returns what [`stiff_quadrature`](@ref) does.
"""
function stiff_interpolating(sol, theta, solver; t, dgdu_discrete, sensealg, options...)
    forward = sol.prob
    jacobian = forward.f.jac
    s = jacobian.system
    f = ODEFunction{true, FullSpecialize}(forward.f.f; vjp = forward.f.vjp, vjp_p = forward.f.vjp_p)
    plain = SciMLBase.build_solution(
        ODEProblem(f, forward.u0, forward.tspan, forward.p), # `remake` would keep the prototype
        sol.alg,
        sol.t,
        sol.u;
        dense = true,
        k = sol.k,
        interp = sol.interp,
        alg_choice = sol.alg_choice,
        retcode = sol.retcode,
        stats = sol.stats,
        calculate_error = false,
    )
    adjoint = ODEAdjointProblem(plain, sensealg, solver, t, dgdu_discrete)
    function write_jacobian!(J, z, p, t)
        sol(J.y, t; continuity = :right)
        J.t = t
        J.diagonal = 0
        jacobian(J.top, J.y, p, t)
        transpose_blocks!(J.top)
        lmul!(-1, J.top)
        return nothing
    end
    g = ODEFunction{true, FullSpecialize}(adjoint.f.f; jac = write_jacobian!, jac_prototype = BorderedBlocks(s, theta))
    problem = ODEProblem(g, adjoint.u0, adjoint.tspan, adjoint.p; adjoint.kwargs...)
    solved = solve(problem, solver; save_everystep = false, save_start = false, options...)
    last, n = solved.u[end], state_length(s)
    return last[1:n], last[(n + 1):end], solved.stats.naccept
end

"Transposes every block in place."
function transpose_blocks!(A::SampleBlocks)
    @inbounds for b in axes(A.blocks, 3), j in axes(A.blocks, 2), i in 1:(j - 1)
        A.blocks[i, j, b], A.blocks[j, i, b] = A.blocks[j, i, b], A.blocks[i, j, b]
    end
    return A
end

"""
    stiff_quadrature(sol, theta, solver; t, dgdu_discrete, sensealg, options...)

`adjoint_sensitivities` with a stiff `solver` on the dense solution `sol`, for `sensealg` a QuadratureAdjoint: the integral is
taken along with the adjoint, within every step of it from step to step of `sol`, between which both are polynomials. Returns
dL/dy0, dL/dtheta and how many steps were accepted.
"""
function stiff_quadrature(sol, theta, solver; t, dgdu_discrete, sensealg, options...)
    adjoint = ODEAdjointProblem(sol, sensealg, solver, t, dgdu_discrete)
    vjp_p = sol.prob.f.vjp_p
    total, part, y, lambda = zero(theta), zero(theta), zero(sol.u[1]), zero(sol.u[1])
    function integrate!(integrator)
        from, to, dt = integrator.tprev, integrator.t, integrator.dt
        # after a step that was cut short to end at an output, `dt` is the step that was planned, and interpolation is off
        integrator.dt = to - from
        for (a, b) in intervals(sol.t, from, to), (node, weight) in zip(GAUSS_NODES, GAUSS_WEIGHTS)
            at = (a + b) / 2 + node * (b - a) / 2
            integrator(lambda, at)
            sol(y, at; continuity = :right)
            vjp_p(part, lambda, y, theta, at)
            axpy!(-weight * (b - a) / 2, part, total)
        end
        integrator.dt = dt
        SciMLBase.derivative_discontinuity!(integrator, false)
        return nothing
    end
    always(u, t, integrator) = true
    along = DiscreteCallback(always, integrate!; save_positions = (false, false))
    callback = CallbackSet(along, adjoint.kwargs[:callback])
    solved = solve(remake(adjoint; callback), solver; save_everystep = false, save_start = false, options...)
    return solved.u[end], total, solved.stats.naccept
end

"The parts of the interval from `from` back to `to` between the monotone `stops`, against their direction."
function intervals(stops, from, to)
    rev = stops[end] < stops[1]
    inner = (searchsortedlast(stops, to; rev) + 1):(searchsortedfirst(stops, from; rev) - 1)
    cuts = [from; stops[reverse(inner)]; to]
    return zip(cuts, Iterators.drop(cuts, 1))
end

# Gauss-Legendre on [-1, 1], exact to degree 9: that of two interpolants of degree 4 or 5
const GAUSS_NODES = (-0.906179845938664, -0.5384693101056831, 0.0, 0.5384693101056831, 0.906179845938664)
const GAUSS_WEIGHTS = (
    0.2369268850561891,
    0.4786286704993665,
    0.5688888888888889,
    0.4786286704993665,
    0.2369268850561891,
)
