@isdefined(SMALL) || include("setup.jl")

@testset "products of $name" for (name, field) in SMALL
    check_products(field, 3, 0.37)
end

# The architectures as one would write them by hand.
function formula_of(name, act, t, y, p)
    f(x) = PyNODE.value(act, x)
    dense(k, x) = p["W$k"] * x .+ p["b$k"]
    gated(k, x) = dense(k, x) .* inv.(1 .+ exp.(-(p["w_g$k"] .* t .+ p["b_g$k"]))) .+ p["w_b$k"] .* t
    name == "mlp" && return dense(2, f.(dense(1, f.(dense(0, y)))))
    name == "mlp cubed" && return dense(1, f.(dense(0, y.^3)))
    name == "mlp linear" && return dense(0, y)
    name == "concatsquash" && return gated(2, f.(gated(1, f.(gated(0, y)))))
    name == "antisymmetric" && return f.((p["W"] - p["W"]' - 0.3 * I) * y .+ p["b"])
    g = p["W"]' * f.(p["W"] * y .+ p["b"])
    return [g[3:4, :]; -g[1:2, :]]
end

"Theta's tensors by name: rows of theta are rows of matrices."
function tensors(tape, theta)
    at, named = 0, Dict{String, Any}()
    for slot in tape.slots
        x = theta[(at + 1):(at + length(slot))]
        named[slot.name] = length(slot.shape) == 2 ? permutedims(reshape(x, reverse(slot.shape)...)) : x
        at += length(slot)
    end
    @test at == length(theta)
    return named
end

@testset "$name is its formula" for (name, field) in SMALL
    acts = Dict("mlp" => Softplus(), "concatsquash" => Gelu(), "antisymmetric" => Silu(), "hamiltonian" => Sigmoid())
    theta, Y, t = theta_of(field), reshape(state_of(field, 3), :, 3), 0.37
    wanted = formula_of(name, get(acts, name, Tanh()), t, Y, tensors(field, theta))
    @test evaluate(field, theta, t, Y) ≈ wanted rtol = 1.0e-13
    dy = zeros(length(Y))
    System(field, 3)(dy, vec(Y), theta, t)
    @test dy ≈ vec(wanted) rtol = 1.0e-13
end

@testset "exact divergence of $name" for (name, field) in SMALL
    batch, t = 2, 0.6
    theta, dim = theta_of(field), state_dim(field)
    system = System(field, batch; flow = FlowState("exact"; jacobian = true))
    y = wave(state_length(system), 0.9, 0.2, 0.8)
    dy = zeros(length(y))
    system(dy, y, theta, t)
    for b in 1:batch
        z = reshape(y, :, batch)[1:dim, b]
        J = ForwardDiff.jacobian(z -> vec(evaluate(field, theta, t, reshape(z, dim, 1))), z)
        @test reshape(dy, :, batch)[dim + 1, b] ≈ -tr(J) atol = 1.0e-12
        @test reshape(dy, :, batch)[dim + 2, b] ≈ sum(abs2, J) atol = 1.0e-12
    end
end

@testset "float32" begin
    for (_, field) in SMALL
        system = System(field, 2; flow = FlowState("exact"), T = Float32)
        theta = Float32.(theta_of(field))
        y = Float32.(wave(state_length(system), 0.9, 0.2, 0.8))
        dy = zero(y)
        system(dy, y, theta, 0.3)
        exact = slope_of(System(field, 2; flow = FlowState("exact")), Float64.(y), Float64.(theta), 0.3)
        @test dy ≈ exact rtol = 1.0e-4
    end
end

@testset "specifications" begin
    spec = Dict("architecture" => "mlp", "widths" => [2, 5, 2], "activation" => "tanh", "input_power" => 3)
    @test n_params(PyNODE.field_from_spec(spec)) == 27
    @test_throws PyNODE.InvalidArgument PyNODE.field_from_spec(Dict("architecture" => "nosuch"))
    @test_throws PyNODE.InvalidArgument System(MLP([2, 2], Tanh()), 3; flow = FlowState("hutchinson"))
    @test_throws PyNODE.InvalidArgument FlowState("nosuch")
    @test_throws PyNODE.InvalidArgument PyNODE.activation("nosuch")
    @test_throws PyNODE.InvalidArgument MLP([2, 5, 3], Tanh())
    @test_throws PyNODE.InvalidArgument ConcatSquash([2, 0, 2], Tanh())
    @test length(unique(typeof(field) for (_, field) in SMALL)) == 1
end

@testset "another theta is another function at the same point" begin
    field = MLP([2, 5, 2], Tanh())
    system, theta, y, v = System(field, 2), theta_of(field), wave(4, 0.9, 0.2, 0.8), wave(4, 2.1, 0.3, 1.0)
    "Slope and both products at `theta`, by `system` or by one that has never been called."
    function results(system, theta)
        dy, by_state, by_theta = zeros(4), zeros(4), zero(theta)
        system(dy, y, theta, 0.3)
        vjp!(by_state, v, system, y, theta, 0.3)
        vjp_theta!(by_theta, v, system, y, theta, 0.3)
        return dy, by_state, by_theta
    end
    before = results(system, theta)
    theta .*= 0.5 # in place
    after = results(system, theta)
    @test after == results(System(field, 2), theta)
    @test all(before .!= after)
end

@testset "lengths are checked" begin
    field = MLP([2, 5, 2], Tanh())
    system, theta, y = System(field, 2), theta_of(field), zeros(4)
    refused(call, argument) = @test_throws Regex("^$argument = length \\d+: wrong length; .*\\d") call()
    for short in (zeros(3), zeros(6))
        refused(() -> system(short, y, theta, 0.0), "dy")
        refused(() -> system(zeros(4), short, theta, 0.0), "y")
        refused(() -> slope_of(system, short, theta, 0.0), "y")
        refused(() -> system(zeros(4), y, short, 0.0), "theta")
        refused(() -> slope_of(system, y, short, 0.0), "theta")
        refused(() -> vjp!(short, y, system, y, theta, 0.0), "Jv")
        refused(() -> vjp!(zeros(4), short, system, y, theta, 0.0), "v")
        refused(() -> vjp_theta!(short, y, system, y, theta, 0.0), "Jv")
        refused(() -> vjp_theta!(zero(theta), short, system, y, theta, 0.0), "v")
    end
end
