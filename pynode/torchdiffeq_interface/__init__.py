"""torchdiffeq's interface on pynode: code switches by changing the import.

`odeint`, `odeint_adjoint`, `odeint_event` and `odeint_dense` have torchdiffeq's signatures, method names ("rk4" is the
3/8 rule in both) and results.  Bad input and failed solves raise typed errors that name the argument, its value and the
remedy; plain fixed-step methods run on pynode's own stepper; and `method` may also be a pynode `GradientMethod`.

An output time on a step boundary (`options={"step_size": ...}`) gets its own gradient, which torchdiffeq leaves out.
Where torchdiffeq silently computes something else than what was asked for, pynode raises an error instead:

- a complex derivative of a real state (torchdiffeq drops the imaginary part),
- an integer `y0` with `scipy_solver` (it is rounded down),
- a derivative of a tuple whose parts do not fit those of `y0` (they are cut from one long vector at other places),
- a derivative whose shape changes during the solve, and a func that changes `y` in place,
- negative and NaN tolerances,
- states that become NaN or infinite, and a NaN or infinite `y0`,
- a scipy solver that stops before the last time (fewer states come back than times were given),
- an event function that is NaN (the event is reported at once),
- second derivatives through `odeint_event` (terms are missing).
"""

from pynode.torchdiffeq_interface.dense import odeint_dense
from pynode.torchdiffeq_interface.events import odeint_event
from pynode.torchdiffeq_interface.solving import odeint, odeint_adjoint

__all__ = ["odeint", "odeint_adjoint", "odeint_dense", "odeint_event"]
