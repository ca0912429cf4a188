"""
    PyNODE

The Julia half of pynode: the same vector fields with hand-written vector-Jacobian products, adaptive solves with the
continuous adjoints of SciMLSensitivity (Opt-Disc), fixed-step solves with the discrete adjoint (Disc-Opt), and the cases
that Python writes, to be opened here.
"""
module PyNODE

using Base.Cartesian: @nexprs
using ForwardDiff: ForwardDiff
using JSON: JSON
using LinearAlgebra: LinearAlgebra, BLAS, LAPACK, axpy!, dot, ldiv!, lmul!, mul!, norm, opnorm, transpose!
using LinearSolve: LinearSolve
using Logging: NullLogger, with_logger
using OrdinaryDiffEqRosenbrock: OrdinaryDiffEqRosenbrock, Rodas5P
using OrdinaryDiffEqTsit5: OrdinaryDiffEqTsit5, AutoTsit5, Tsit5
using OrdinaryDiffEqVerner: OrdinaryDiffEqVerner, Vern7, Vern9
using Random: Xoshiro
using ReverseDiff: ReverseDiff
using SciMLBase:
    SciMLBase,
    CallbackSet,
    DiscreteCallback,
    FullSpecialize,
    ODEFunction,
    ODEProblem,
    ReturnCode,
    remake,
    solve
using SciMLSensitivity:
    SciMLSensitivity,
    BacksolveAdjoint,
    EnzymeVJP,
    GaussAdjoint,
    InterpolatingAdjoint,
    ODEAdjointProblem,
    QuadratureAdjoint,
    ReverseDiffAdjoint,
    ReverseDiffVJP,
    ZygoteVJP,
    adjoint_sensitivities
using SpecialFunctions: SpecialFunctions, erf, erfc
using Statistics: median
using Zygote: Zygote

"The packages that compute, so that a result can say what made it."
const PACKAGES = (
    ForwardDiff,
    LinearSolve,
    OrdinaryDiffEqRosenbrock,
    OrdinaryDiffEqTsit5,
    OrdinaryDiffEqVerner,
    ReverseDiff,
    SciMLBase,
    SciMLSensitivity,
    SpecialFunctions,
    Zygote,
)

"""
    versions()

Versions of Julia, of this package and of those that compute, by name; threads too.
"""
function versions()
    versions = Dict{String, Any}(string(nameof(package)) => string(pkgversion(package)) for package in PACKAGES)
    versions["PyNODE"] = string(pkgversion(@__MODULE__))
    versions["julia"] = string(VERSION)
    versions["threads"] = Threads.nthreads()
    versions["blas_threads"] = BLAS.get_num_threads()
    return versions
end

export Antisymmetric, ConcatSquash, Hamiltonian, MLP, Tape
export FlowState, System, evaluate, slope_of, vjp!, vjp_theta!
export DiscOpt, OptDisc, scheme, solve_forward, pullback
export forwarddiff_gradient, reversediff_gradient
export train, train_spiral
export load_case, rerun, compare, describe

include("errors.jl")
include("products.jl")
include("fields/base.jl")
include("tapes/elementary.jl")
include("tapes/functions.jl")
include("tapes/operations.jl")
include("tapes/program.jl")
include("tapes/tape.jl")
include("tapes/blocks.jl")
include("tapes/forward.jl")
include("tapes/backward.jl")
include("tapes/plain.jl")
include("fields/writer.jl")
include("fields/mlp.jl")
include("fields/concatsquash.jl")
include("fields/antisymmetric.jl")
include("fields/hamiltonian.jl")
include("system.jl")
include("schemes.jl")
include("report.jl")
include("disc_opt.jl")
include("stiff.jl")
include("stiff_adjoint.jl")
include("memory.jl")
include("watch.jl")
include("opt_disc.jl")
include("pullback.jl")
include("oracles.jl")
include("training.jl")
include("specs.jl")
include("cases.jl")
include("describe.jl")
include("bridge.jl")
include("precompile.jl")

end
