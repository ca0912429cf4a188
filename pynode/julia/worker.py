"""The worker process, `python -m pynode.julia.worker`: holds juliacall (and never torch) and serves a session.

Every Julia function that is called from Python stands in `BRIDGE`.
"""

from __future__ import annotations

import functools
import json
import os
import sys
import traceback
from typing import TYPE_CHECKING, Any, NamedTuple, TypeAlias

from pynode.julia.protocol import REPORT, SLOPE, STATE
from pynode.julia.serving import Handler, Request, Stopped, open_connection, serve

if TYPE_CHECKING:
    from pynode.julia.arena import Array as Numbers


class Json(NamedTuple):
    """An argument: this entry of the request's values as JSON text."""

    name: str


class Value(NamedTuple):
    """An argument: this entry of the request's values as it is, a number."""

    name: str


class Array(NamedTuple):
    """An argument: this array of the request, which the function reads or fills; of size (0, 0) where it is left out
    and may be."""

    name: str
    optional: bool = False


class Cancel(NamedTuple):
    """An argument: the cancel flag, one UInt8."""


Argument: TypeAlias = "Json | Value | Array | Cancel"


class BridgeFunction(NamedTuple):
    """A function of Julia's `PyNODE.Bridge` with its positional arguments; it returns JSON text or nothing.

    With `then`, it returns a function instead, which is called with these further arguments: at once, and again
    whenever a prepared request comes back.
    """

    name: str
    arguments: tuple[Argument, ...]
    then: tuple[Value, ...] | None = None


PROBES, ANSWER = Array("probes", optional=True), Array(REPORT, optional=True)

BRIDGE: dict[str, BridgeFunction] = {
    "versions": BridgeFunction("versions", ()),
    "solve": BridgeFunction(
        "prepared_solve",
        (
            Array("ys"),
            ANSWER,
            Json("system"),
            Array("theta"),
            Array("y0"),
            Array("ts"),
            PROBES,
            Json("options"),
            Cancel(),
        ),
        then=(),
    ),
    "pullback": BridgeFunction(
        "prepared_pullback",
        (Array("grad_y0"), Array("grad_theta"), Array("grad_ts"), ANSWER, Array("cotangents"), Cancel()),
        then=(Value("handle"), Value("times")),
    ),
    "evaluate": BridgeFunction(
        "evaluate!", (Array("dy"), Json("system"), Array("theta"), Value("t"), Array("y"), PROBES)
    ),
    "train": BridgeFunction("train", (Json("problem"), Cancel())),
}
"""Verb of a session: the Julia function that does it.  `evaluate!(dy, system_json, theta, ...)` and so on."""

RELEASE = BridgeFunction("release", (Value("handle"),))
"""The Julia function that forgets a solution; no verb: the handles come with other requests."""

REFERENCE_SOLVERS = {
    "vern9": ("OrdinaryDiffEqVerner", "Vern9"),
    "vern7": ("OrdinaryDiffEqVerner", "Vern7"),
    "tsit5": ("OrdinaryDiffEqTsit5", "Tsit5"),
}
"""Solvers of reference trajectories: their package and name in Julia."""

ELEMENTS = {"float64": "Float64", "float32": "Float32", "int64": "Int64", "uint8": "UInt8"}

LONGEST_MESSAGE, LONGEST_BACKTRACE = 4_000, 20_000
"""Characters of a Julia exception that are passed on: a type's name alone may fill pages."""


class Julia:
    """Julia in this process: loads PyNODE, wraps arrays, calls the bridge's functions."""

    def __init__(self) -> None:
        import juliacall  # type: ignore[import-untyped]

        self.main = juliacall.Main
        self.exception: type[BaseException] = juliacall.JuliaError
        self.main.seval("using PyNODE")
        bridge = "PyNODE.Bridge."
        self._functions = {verb: self.main.seval(bridge + f.name) for verb, f in BRIDGE.items()}
        self.release = self.main.seval(bridge + RELEASE.name)
        self._wrap = {
            dtype: self.main.seval(f"(address, dims...) -> unsafe_wrap(Array, Ptr{{{element}}}(UInt(address)), dims)")
            for dtype, element in ELEMENTS.items()
        }
        self._nothing = self.main.seval("zeros(0, 0)")

    def array(self, array: Numbers) -> Any:
        """A C-ordered array in the arena as a Julia `Array` with the axes in reversed order, without a copy."""
        return self._wrap[array.dtype.name](array.ctypes.data, *reversed(array.shape))

    def handler(self, verb: str) -> Handler:
        """Serves `verb` by the function in `BRIDGE`."""
        function, (_, arguments, then) = self._functions[verb], BRIDGE[verb]

        def handle(request: Request) -> dict[str, Any]:
            if request.prepared is None:
                given = [self._argument(of, request) for of in arguments]
                request.prepared = function(*given) if then is not None else functools.partial(function, *given)
            numbers = [request.value[name] for (name,) in then or ()]
            with request.clock():
                text = request.prepared(*numbers)
            return json.loads(str(text)) if text is not None else {}

        return handle

    def _argument(self, of: Argument, request: Request) -> Any:
        match of:
            case Json(name):
                return json.dumps(request.value[name])
            case Value(name):
                return request.value[name]
            case Cancel():
                return self.array(request.cancel)
            case Array(name, optional):
                array = request.outputs.get(name, request.arrays.get(name))
                if array is not None:
                    return self.array(array)
                if optional:
                    return self._nothing
                raise KeyError(name)

    def reference(self, request: Request) -> dict[str, Any]:
        """Solves the right-hand side that the parent evaluates, by diffeqpy; fills `ys`."""
        package, algorithm = REFERENCE_SOLVERS[request.value["solver"]]
        if self.main.seval(f'Base.find_package("{package}")') is None:  # diffeqpy would add it to the user's project
            raise LookupError(f"the Julia project has no package {package}")
        # diffeqpy looks for Julia there, and would install another one
        os.environ["PATH"] = os.pathsep.join((str(self.main.seval("Sys.BINDIR")), os.environ.get("PATH", "")))
        import diffeqpy  # type: ignore[import-untyped]

        de = diffeqpy.load_julia_packages(package)
        state, slope, y0 = (
            self.array(array.reshape(-1))
            for array in (request.outputs[STATE], request.outputs[SLOPE], request.arrays["y0"])
        )
        ts, ys = request.arrays["ts"], request.outputs["ys"]
        stopped, reached = False, float(ts[0])

        def ask(t: float) -> None:
            nonlocal stopped, reached
            reached = float(t)
            try:
                request.ask(float(t))
            except Stopped:
                stopped = True
                raise

        right_side = self.main.seval(
            "(ask, state, slope) -> (du, u, p, t) -> (copyto!(state, u); ask(t); copyto!(du, slope); nothing)"
        )(ask, state, slope)
        times = self.main.copy(self.array(ts))
        problem = de.ODEProblem(right_side, self.main.copy(y0), (float(ts[0]), float(ts[-1])))
        try:
            with request.clock():
                # with every output time as a stop, no state is interpolated
                solution = de.solve(
                    problem,
                    getattr(de, algorithm)(),
                    reltol=float(request.value["rtol"]),
                    abstol=float(request.value["atol"]),
                    saveat=times,
                    tstops=times,
                    maxiters=int(request.value["max_steps"]),
                )
        except self.exception:
            if stopped:  # however Julia wrapped it on its way
                raise Stopped from None
            raise
        put = self.main.seval("(ys, us) -> (for k in eachindex(us); ys[:, k] = us[k]; end; length(us))")
        fits = len(solution.u) <= len(ts)
        saved = int(put(self.array(ys.reshape(len(ts), -1)), solution.u)) if fits else 0
        retcode = str(self.main.string(solution.retcode)).rpartition(".")[2]
        return {"retcode": retcode, "saved": saved, "t": reached}

    def describe(self, error: BaseException) -> dict[str, Any] | None:
        """The fields of an error answer for a Julia exception."""
        if not isinstance(error, self.exception):
            return None
        exception, backtrace = error.args
        base = self.main.Base
        kind = str(base.string(base.nameof(base.typeof(exception))))
        if kind == "Cancelled":
            return {"kind": "cancelled", "message": "stopped"}
        message = str(base.sprint(base.showerror, exception))
        stack = "" if backtrace is None else str(base.sprint(base.show_backtrace, backtrace))
        return {
            "kind": "julia",
            "type": kind,
            "message": message[:LONGEST_MESSAGE],
            "backtrace": stack[:LONGEST_BACKTRACE],
        }


def main() -> int:
    """Loads Julia, says so, and serves until the parent closes its pipe."""
    connection = open_connection()
    try:
        julia = Julia()
    except BaseException as error:
        traceback.print_exc(file=sys.stderr)
        connection.write({"failed": f"{type(error).__name__}: {error}"[:LONGEST_MESSAGE]})
        return 1
    handlers: dict[str, Handler] = {verb: julia.handler(verb) for verb in BRIDGE}
    handlers["reference"] = julia.reference
    handlers["ping"] = lambda request: {}  # noqa: ARG005
    connection.write({"ready": True})
    serve(connection, handlers, julia.release, julia.describe)
    return 0


if __name__ == "__main__":
    status = main()
    sys.stderr.flush()
    os._exit(status)  # Julia's own farewell may hang
