"""The kernel of adaptive solves and their continuous adjoints that Python calls.

One worker goes on until the solve is done, fails, or needs room for more records, or for `PATIENCE` attempts: between
two calls Python may find that somebody pressed Ctrl-C.  Several workers share each attempt
of a step, and one of them does what lies between: the caller keeps them together.
"""

from __future__ import annotations

from typing import Any

from pynode.engines.fused.adaptive import choose
from pynode.engines.fused.jit import entry
from pynode.engines.fused.opt_disc_back import attempt_back, begin_back, conclude_back, slope_norm_back
from pynode.engines.fused.opt_disc_forward import attempt, begin, conclude, prepare, slope_norm
from pynode.engines.fused.opt_disc_tables import RUNNING, STATUS
from pynode.engines.fused.simd import pointer

BEGIN, PREPARE, ATTEMPT, CONCLUDE, NORM = 1, 2, 4, 8, 16
PATIENCE = 500
WHOLE = BEGIN | PREPARE | ATTEMPT | CONCLUDE


@entry
def run(
    plan: Any, numbers: Any, memory: Any, addresses: Any, state: Any, worker: int, workers: int, back: int, tasks: int
) -> None:
    """Does the `tasks`, a sum of the above; a single worker those from PREPARE to CONCLUDE again and again."""
    q, c, m, a, s = pointer(plan), pointer(numbers), pointer(memory), pointer(addresses), pointer(state)
    if tasks & BEGIN:
        if back == 0:
            begin(q, c, m, a, s)
        else:
            begin_back(q, c, m, a, s)
    if tasks & NORM:
        if back == 0:
            slope_norm(q, m, a, s)
        else:
            slope_norm_back(q, c, m, a, s)
    going = tasks & (PREPARE | ATTEMPT | CONCLUDE)
    attempts = 0
    while going and attempts < PATIENCE and (s[STATUS] == RUNNING or workers > 1):
        attempts += 1
        if tasks & PREPARE:
            if back == 0:
                prepare(q, s)
            else:
                choose(q, s)
        if s[STATUS] != RUNNING:
            break
        if tasks & ATTEMPT:
            if back == 0:
                attempt(q, c, m, a, s, worker, workers)
            else:
                attempt_back(q, c, m, a, s, worker, workers)
        if tasks & CONCLUDE:
            if back == 0:
                conclude(q, c, m, a, s)
            else:
                conclude_back(q, c, m, a, s)
        if workers > 1:
            break
