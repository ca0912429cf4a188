using Test

@testset "PyNODE" begin
    include("functions.jl")
    include("tapes.jl")
    include("written.jl")
    include("describe.jl")
    include("fields.jl")
    include("disc_opt.jl")
    include("opt_disc.jl")
    include("stiff.jl")
    include("memory.jl")
    include("training.jl")
    include("cases.jl")
    include("bridge.jl")
    include("readme.jl")
end
