"""A worker without Julia: the same pipes, arena and serving loop, the same verbs computed by torch, and bad manners.

Run as `[sys.executable, "stand_in.py", MODE]`.  MODE "" behaves; "hang", "die", "garbage" and "fail" do that at the
start.  A request whose values hold {"misbehave": NAME} does the thing of that name in `MISDEEDS` instead.
"""

from __future__ import annotations

import os
import signal
import sys
import time
from collections.abc import Callable
from importlib.metadata import version
from typing import Any

from pynode.julia.prepared import COUNTS, REPORT_FIELDS
from pynode.julia.protocol import HEADER, LARGEST, MAGIC, MAGIC_DONE, REPORT, SLOPE, STATE, Done, encode
from pynode.julia.serving import Connection, Handler, Request, open_connection, serve

RETCODES = {"SUCCESS": "Success", "MAX_STEPS": "MaxIters", "STEP_UNDERFLOW": "DtLessThanMin", "NON_FINITE": "Unstable"}


class PretendedJuliaError(Exception):
    """Stands for an exception of Julia's."""


class PretendedCancelled(Exception):
    """Stands for PyNODE.Cancelled."""


def describe(error: BaseException) -> dict[str, Any] | None:
    """The error answers of the two exceptions above."""
    if isinstance(error, PretendedCancelled):
        return {"kind": "cancelled", "message": "stopped"}
    if isinstance(error, PretendedJuliaError):
        return {"kind": "julia", "type": "DomainError", "message": str(error), "backtrace": "\n [1] sqrt @ math.jl:1"}
    return None


# --- bad manners ------------------------------------------------------------------------------------------------------


def slow(request: Request) -> None:
    """A long solve that looks at the cancel flag, as Julia's does."""
    print("slow work has begun", file=sys.stderr, flush=True)
    end = time.monotonic() + 60
    while time.monotonic() < end:
        if request.cancel[0]:
            raise PretendedCancelled
        time.sleep(0.005)


def hang() -> None:
    """Neither ends nor looks at anything."""
    print("now it hangs", file=sys.stderr, flush=True)
    time.sleep(3600)


def kill_itself() -> None:
    """As the system does when memory runs out."""
    os.kill(os.getpid(), signal.SIGKILL)


def crash(_: Request) -> None:
    """As Julia does where memory is damaged: a signal, and a stack that is longer than what anybody reads."""
    print("worked for hours", *(f"line {k}" for k in range(100)), sep="\n", file=sys.stderr)
    print("\n[4321] signal (11.1): Segmentation fault\nin expression starting at none:0", file=sys.stderr)
    print(*(f"jl_apply at /usr/bin/../lib/libjulia-internal.so.1 ({k})" for k in range(100)), sep="\n", file=sys.stderr)
    sys.stderr.flush()
    os.kill(os.getpid(), signal.SIGSEGV)


def write_raw(connection: Connection, data: bytes) -> None:
    """Puts bytes where a frame belongs."""
    connection.answers.write(data)
    connection.answers.flush()


def misdeeds(connection: Connection) -> dict[str, Callable[[Request], dict[str, Any] | None]]:
    """What a request can ask for, by name."""
    frame = encode({"id": 1, "seconds": 0.0, "value": {}})

    def raise_(error: Exception) -> None:
        raise error

    def then_end(data: bytes, code: int) -> None:
        write_raw(connection, data)
        os._exit(code)

    def then_hang(data: bytes) -> None:
        write_raw(connection, data)
        hang()

    def then_close(_: Request) -> None:
        connection.answers.close()
        hang()

    def then_exit(_: Request) -> None:
        print("could not go on", file=sys.stderr, flush=True)
        os._exit(3)

    def printing(_: Request) -> dict[str, Any]:
        print("printed by Python", flush=True)
        os.write(1, b"printed by C\n")
        return {"standard_input": os.read(0, 10).decode()}

    return {
        "kill": lambda _: kill_itself(),
        "exit": then_exit,
        "hang": lambda _: hang(),
        "slow": slow,
        "nap": lambda _: time.sleep(0.6),
        "crash": crash,
        "deaf": lambda _: time.sleep(60),
        "garbage": lambda _: then_hang(b"Segmentation fault, said somebody"),
        "half-then-exit": lambda _: then_end(frame[:-3], 0),
        "half-then-crash": lambda _: then_end(frame[:-3], 9),
        "half-then-hang": lambda _: then_hang(frame[:-3]),
        "close": then_close,
        "no-json": lambda _: then_hang(HEADER.pack(MAGIC, 7) + b"{not so"),
        "no-object": lambda _: then_hang(HEADER.pack(MAGIC, 2) + b"[]"),
        "oversized": lambda _: then_hang(HEADER.pack(MAGIC, LARGEST + 1)),
        "other-id": lambda _: then_hang(encode({"id": 10**6, "seconds": 0.0, "value": {}})),
        "no-seconds": lambda _: connection.write({"id": None, "value": {}}),
        "bad-handle": lambda _: {"handle": "seven"},
        "done": lambda r: connection.write(Done(r.number or 0, 0.0)),
        "short-done": lambda _: then_hang(HEADER.pack(MAGIC_DONE, 3) + b"abc"),
        "question": lambda r: r.ask(0.0),
        "julia-error": lambda _: raise_(PretendedJuliaError("DomainError with -1.0:\nsqrt was called with -1.0")),
        "python-error": lambda _: raise_(LookupError("no such thing")),
        "print": printing,
        "chatter": lambda _: print("x" * 6_000_000, file=sys.stderr, flush=True),
    }


# --- work -------------------------------------------------------------------------------------------------------------

held: dict[int, Any] = {}
handles = iter(range(1, 10**9))


def build(request: Request, like: str) -> Any:
    """The module that `system` and `theta` describe, in the dtype of the array `like`."""
    import torch

    from pynode.flows.augmented import AugmentedField, RunningCosts
    from pynode.flows.divergence import Exact, Hutchinson
    from pynode.tapes.tape import specification_from_json

    system = request.value["system"]
    spec = specification_from_json(system["field"])
    dtype = torch.from_numpy(request.arrays[like]).dtype
    field: torch.nn.Module = spec.build(theta=tensor(request, "theta"), dtype=dtype)
    if (flow := system.get("flow")) is not None:
        exact = flow["divergence"] == "exact"
        probes = None if exact else tensor(request, "probes").to(dtype)
        costs = RunningCosts(flow["kinetic"], flow["jacobian"])
        field = AugmentedField(field, spec.state_dim, Exact() if exact else Hutchinson(), probes, costs)

    def look(*_: object) -> None:
        if request.cancel[0]:
            raise PretendedCancelled

    field.register_forward_pre_hook(look)
    return field


def tensor(request: Request, name: str) -> Any:
    """A copy of an array of the request."""
    import torch

    return torch.from_numpy(request.arrays[name].copy())


def method_of(options: dict[str, Any]) -> Any:
    """torch's own method with the tolerances or the tableau of the options."""
    from pynode.methods.disc_opt import DiscOpt
    from pynode.methods.opt_disc import OptDisc
    from pynode.schemes.base import Scheme

    if options["kind"] == "disc-opt":
        a = tuple(tuple(row[:i]) for i, row in enumerate(options["A"]))
        return DiscOpt(
            Scheme("given", 1, a, tuple(options["b"]), tuple(options["c"])), options["substeps"], engine="eager"
        )
    names = ("rtol", "atol", "adjoint_rtol", "adjoint_atol", "max_steps")
    given = {name: options[name] for name in names if options.get(name) is not None}
    adjoint: Any = "backsolve" if options.get("adjoint") == "backsolve" else "interpolating"
    return OptDisc("dopri5", engine="eager", adjoint=adjoint, drift="ignore", **given)


def report(cost: Any, seconds: float, error: Any = None, drift: float | None = None) -> dict[str, Any]:
    """What Julia reports of a solve; the drift is always that of the first sample at the first output time."""
    status = "SUCCESS" if error is None else error.status.name
    where = {"t": None, "dt": None, "norm_f": None}
    if error is not None:
        where = {"t": error.t, "dt": error.dt, "norm_f": error.norm_f}
    counts = {name: getattr(cost, name) for name in ("n_f", "n_vjp", "n_accepted", "n_rejected")}
    return {
        "handle": None,
        "status": status,
        "retcode": RETCODES.get(status, "Failure"),
        "seconds": seconds,
        "cost": counts,
        "drift": drift,
        "drift_t": 0.0,
        "drift_sample": 1,
        **where,
    }


def solve(request: Request) -> dict[str, Any]:
    """A solve by torch."""
    import torch

    from pynode.errors import SolveError
    from pynode.solution import Cost

    options = request.value["options"]
    method, field, ts = method_of(options), build(request, "y0"), tensor(request, "ts")
    y0 = tensor(request, "y0").requires_grad_(options["gradient"])
    with request.clock(), torch.set_grad_enabled(options["gradient"]):
        try:
            solution = method.solve(field, y0, ts)
        except SolveError as error:
            return report(Cost(), request.seconds, error)
    request.outputs["ys"][...] = solution.ys.detach().numpy()
    reply = report(solution.stats.forward, request.seconds)
    if request.value.get("late"):
        time.sleep(request.value["late"])
    if options["gradient"]:
        reply["handle"] = next(handles)
        held[reply["handle"]] = (solution, method, field, y0, ts)
    return as_numbers(request, reply)


def pullback(request: Request) -> dict[str, Any]:
    """Its gradient by torch."""
    import torch

    from pynode.errors import SolveError

    if request.value["handle"] not in held:
        raise PretendedJuliaError(f"handle = {request.value['handle']}: released")
    solution, method, field, y0, ts = held[request.value["handle"]]
    sources = [y0, *field.parameters()]
    count = len(sources)
    if request.value["times"]:  # only now is it known that they want a gradient, which costs evaluations
        sources.append(ts.requires_grad_())
        solution = method.solve(field, y0, ts)
    before = solution.stats.backward + type(solution.stats.backward)()
    with request.clock():
        try:
            gradients = torch.autograd.grad(
                solution.ys, sources, tensor(request, "cotangents"), retain_graph=True, materialize_grads=True
            )
        except SolveError as error:
            return report(solution.stats.backward, request.seconds, error)
    request.outputs["grad_y0"][...] = gradients[0].numpy()
    request.outputs["grad_theta"][...] = (
        torch.cat([y0.new_empty(0), *(g.reshape(-1) for g in gradients[1:count])]).detach().numpy()
    )
    if request.value["times"]:
        request.outputs["grad_ts"][...] = gradients[-1].numpy()
    cost = solution.stats.backward
    for name in ("n_f", "n_vjp", "n_accepted", "n_rejected"):
        setattr(before, name, getattr(cost, name) - getattr(before, name))
    return as_numbers(request, report(before, request.seconds, drift=solution.stats.drift))


def as_numbers(request: Request, reply: dict[str, Any]) -> dict[str, Any]:
    """The answer as it is, or written into the report of a prepared request."""
    if REPORT not in request.outputs:
        return reply
    entries = {**dict.fromkeys(COUNTS, 0), **reply["cost"], **reply, "handle": reply["handle"] or 0}
    numbers = [float("nan") if entries[name] is None else entries[name] for name in REPORT_FIELDS]
    request.outputs[REPORT][...] = numbers
    return {}


def release(handle: int) -> None:
    """`release`."""
    held.pop(handle, None)


def evaluate(request: Request) -> None:
    """`evaluate!` by torch."""
    import torch

    with torch.no_grad():
        y = tensor(request, "y")
        slope = build(request, "y")(torch.tensor(request.value["t"], dtype=y.dtype), y)
    request.outputs["dy"][...] = slope.numpy()


def train(request: Request) -> dict[str, Any]:
    """`train` by torch: the sum of squares, Adam."""
    import torch

    from pynode.tapes.tape import specification_from_json

    asked = request.value["problem"]
    spec = specification_from_json(asked["system"]["field"])
    field = spec.build(theta=torch.tensor(asked["theta"], dtype=torch.float64))
    y0, ts, data = (torch.tensor(asked[name], dtype=torch.float64) for name in ("y0", "ts", "data"))
    optimiser, method = torch.optim.Adam(field.parameters(), asked["learning_rate"]), method_of(asked["options"])
    seconds = dict.fromkeys(("seconds_forward", "seconds_backward", "seconds_optimiser"), 0.001)
    rows = []
    for _ in range(asked["iterations"]):
        solution = method.solve(field, y0.reshape(-1, spec.state_dim), ts)
        loss = (solution.ys.flatten(1) - data).square().sum()
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        forward, backward = solution.stats.forward, solution.stats.backward
        counts = {"nfe_forward": forward.n_f, "nfe_backward": backward.n_f, "n_vjp_backward": backward.n_vjp}
        rows.append({"loss": loss.item(), **seconds, **counts})
    return {"iterations": rows, "theta": field.theta().tolist(), "warmup_seconds": 0.0}


def versions(_: Request) -> dict[str, Any]:
    """Versions of what computes here."""
    return {"stand-in": "1", "torch": version("torch")}


def reference(request: Request) -> dict[str, Any]:
    """The trajectory by SciPy; the right-hand side is asked of the parent."""
    from scipy.integrate import solve_ivp

    state, slope = request.outputs[STATE], request.outputs[SLOPE]
    y0, ts, ys = request.arrays["y0"].reshape(-1), request.arrays["ts"], request.outputs["ys"]

    def f(t: float, y: Any) -> Any:
        state.reshape(-1)[...] = y
        request.ask(float(t))
        return slope.reshape(-1).copy()

    options = {"rtol": max(request.value["rtol"], 1e-13), "atol": request.value["atol"]}
    solved = solve_ivp(f, (ts[0], ts[-1]), y0, "DOP853", t_eval=ts, **options)
    if solved.success:
        ys.reshape(len(ts), -1)[...] = solved.y.T
    retcode = "Success" if solved.success else "Unstable"
    return {"retcode": retcode, "saved": len(solved.t), "t": float(solved.t[-1])}


def echo(request: Request) -> dict[str, Any]:
    """Copies each input into the output of the same name with `_back`, and returns the values."""
    with request.clock():
        for name, array in request.arrays.items():
            request.outputs[f"{name}_back"][...] = array
    return {**request.value, "held": len(held), "shapes": [list(a.shape) for a in request.arrays.values()]}


def main(mode: str) -> int:
    """Serves until the parent closes its pipe."""
    connection = open_connection()
    if mode == "hang":
        hang()
    if mode == "die":
        print("LoadError: no such package", file=sys.stderr, flush=True)
        return 4
    if mode == "garbage":
        write_raw(connection, b"Activating project at ...\n")
        hang()
    if mode == "fail":
        connection.write({"failed": "ArgumentError: Package PyNODE not found"})
        return 1
    done: dict[str, Handler] = {
        "solve": solve,
        "pullback": pullback,
        "evaluate": evaluate,
        "train": train,
        "versions": versions,
        "reference": reference,
        "echo": echo,
        "ping": lambda _: {},
    }
    bad = misdeeds(connection)

    def minded(handler: Handler) -> Handler:
        return lambda request: (bad[request.value["misbehave"]] if "misbehave" in request.value else handler)(request)

    connection.write({"ready": True})
    serve(connection, {verb: minded(handler) for verb, handler in done.items()}, release, describe)
    return 0


if __name__ == "__main__":
    status = main(sys.argv[1] if len(sys.argv) > 1 else "")
    sys.stderr.flush()
    os._exit(status)
