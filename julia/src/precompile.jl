# What a new worker calls first, compiled when the package is: solves with gradients of a small tape, as Python asks for them.
# All models are tapes, so that this serves every model.
#
# Julia up to 1.12 may crash when it loads a compiled package that brings a new type whose supertype speaks of that very type
# (JuliaLang/julia#62047), and so may not see ReverseDiff's arrays here: calls to SciML with arguments of types that are known
# only when they run stand behind `Base.invokelatest`, so that nothing but what runs is compiled.

using PrecompileTools: @compile_workload, @setup_workload

@setup_workload begin
    spec = """{"field": {"architecture": "concatsquash", "widths": [2, 3, 2]}, "flow": null}"""
    flow = replace(spec, "null" => """{"divergence": "exact", "kinetic": true, "jacobian": true}""")
    disc_opt = """{"kind": "disc-opt", "scheme": "rk4", "substeps": [1, 1], "gradient": true}"""
    opt_disc(solver, adjoint) = """{"kind": "opt-disc", "solver": "$solver", "adjoint": "$adjoint", "gradient": true}"""

    "A solve and its gradient as the worker calls them."
    function round_trip(T, options; system = spec, rows = 2, times = 0)
        cancel, none, report = UInt8[0], zeros(T, 0, 0), zeros(length(Bridge.REPORT))
        theta, y0, ts = fill(T(0.1), 32), fill(T(0.5), rows, 2), [0.0, 0.1, 0.2]
        ys, by_y0, by_theta, by_ts = zeros(T, rows, 2, 3), zero(y0), zero(theta), zero(ts)
        Bridge.prepared_solve(ys, report, system, theta, y0, ts, none, options, cancel)()
        handle = Int(report[1])
        Bridge.prepared_pullback(by_y0, by_theta, by_ts, report, ys, cancel)(handle, times)
        Bridge.release(handle)
        return nothing
    end

    @compile_workload begin
        Bridge.versions()
        Bridge.evaluate!(zeros(2, 2), spec, fill(0.1, 32), 0.0, fill(0.5, 2, 2), zeros(0, 0))
        for T in (Float64, Float32)
            round_trip(T, disc_opt)
            round_trip(T, disc_opt; system = flow, rows = 5)
        end
        round_trip(Float64, disc_opt; times = 1)
        for adjoint in ADJOINTS
            round_trip(Float64, opt_disc("tsit5", adjoint))
        end
        round_trip(Float64, opt_disc("tsit5", "gauss"); times = 1)
        round_trip(Float32, opt_disc("tsit5", "gauss"))
        round_trip(Float64, opt_disc("vern7", "gauss"))
        round_trip(Float64, opt_disc("vern9", "gauss"))
        for adjoint in ("gauss", "interpolating")
            round_trip(Float64, opt_disc("auto", adjoint))
        end
        # what is left here would be part of the compiled package
        empty!(Bridge.IDLE)
        Bridge.LAST_HANDLE[] = 0
        FREE[] = (bytes = 0, at = UInt64(0))
    end
end
