# What several test files use: small fields of every kind with weights by a closed formula, and their systems.
using ForwardDiff, LinearAlgebra, PyNODE, Test
# fatou-ignore unused-import: for the files that include this one
using PyNODE: Gelu, Sigmoid, Silu, Softplus, Tanh, n_params, state_dim, state_length

wave(n, a, b, size) = [size * sin(a * i + b) for i in 1:n]

relative(a, b) = norm(a .- b) / norm(b)

const SMALL = [
    "mlp" => MLP([2, 7, 5, 2], Softplus()),
    "mlp cubed" => MLP([2, 9, 2], Tanh(); input_power = 3),
    "mlp linear" => MLP([3, 3], Tanh()),
    "concatsquash" => ConcatSquash([3, 6, 4, 3], Gelu()),
    "antisymmetric" => Antisymmetric(4, Silu(); gamma = 0.3),
    "hamiltonian" => Hamiltonian(4, 6, Sigmoid()),
]

"One of every architecture, where each costs compilation."
const ONE_OF_EACH = SMALL[[2, 4, 5, 6]]

theta_of(field) = wave(n_params(field), 1.3, 0.4, 0.6)
state_of(field, batch) = wave(state_dim(field) * batch, 0.9, 0.2, 0.8)

"A system without flow, then flows of every kind."
function systems_of(field, batch)
    dim = state_dim(field)
    probes = reshape([isodd(i * i ÷ 3) ? 1.0 : -1.0 for i in 1:(dim * batch)], dim, batch)
    return [
        System(field, batch),
        System(field, batch; flow = FlowState("exact")),
        System(field, batch; flow = FlowState("exact"; kinetic = true, jacobian = true)),
        System(field, batch; flow = FlowState("hutchinson"; kinetic = true), probes),
        System(field, batch; flow = FlowState("hutchinson"; jacobian = true), probes),
    ]
end

"The Jacobian of `f` by ForwardDiff, a column at a time, so that its dual numbers are the same for every size."
function jacobian_of(f, x)
    isempty(x) && return zeros(length(f(x)), 0)
    return ForwardDiff.jacobian(f, x, ForwardDiff.JacobianConfig(f, x, ForwardDiff.Chunk{1}()))
end

"Checks value and products of systems of every kind against ForwardDiff of the plain form."
function check_products(field, batch, t; rtol = 1.0e-11)
    theta = theta_of(field)
    for system in systems_of(field, batch)
        n = state_length(system)
        y, v = wave(n, 0.9, 0.2, 0.8), wave(n, 2.1, 0.3, 1.0)
        dy = zeros(n)
        system(dy, y, theta, t)
        @test dy ≈ slope_of(system, y, theta, t) rtol = 1.0e-12 atol = 1.0e-13
        J = jacobian_of(y -> slope_of(system, y, theta, t), y)
        by_state, by_theta = zeros(n), zeros(length(theta))
        vjp!(by_state, v, system, y, theta, t)
        @test by_state ≈ J' * v rtol = rtol atol = 1.0e-13
        Jp = jacobian_of(theta -> slope_of(system, y, theta, t), theta)
        vjp_theta!(by_theta, v, system, y, theta, t)
        @test by_theta ≈ Jp' * v rtol = rtol atol = 1.0e-13
        both_state, both_theta = zeros(n), copy(by_theta)
        PyNODE.vjp_both!(both_state, both_theta, v, system, y, theta, t)
        @test both_state ≈ by_state
        @test both_theta ≈ 2 .* by_theta
        # another point, so that nothing is left over from this one
        vjp!(by_state, v, system, 0.5 .* y, theta, 2t)
        J = jacobian_of(y -> slope_of(system, y, theta, 2t), 0.5 .* y)
        @test by_state ≈ J' * v rtol = rtol atol = 1.0e-13
    end
    return nothing
end
