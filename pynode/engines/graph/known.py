"""The recordings of this process, of solves with fixed and with adaptive steps, and the solves that can't have one."""

from __future__ import annotations

import torch

from pynode.engines.graph.adaptive import solves as adaptive
from pynode.engines.graph.capture import RECORDERS, NotRecordable
from pynode.engines.graph.fields import obstacle_to_recording
from pynode.engines.graph.recordings import Kind, Recordings
from pynode.engines.graph.solves import kind_of as kind_with_fixed_steps
from pynode.errors import EngineUnavailable
from pynode.solve import Run, Solve
from pynode.steps import Adaptive
from pynode.transforms import is_transformed


def kind_of(solve: Solve) -> Kind:
    """What the recording of `solve` depends on; raises `NotRecordable`."""
    if isinstance(solve.recipe.steps, Adaptive):
        return adaptive.kind_of(solve)
    return kind_with_fixed_steps(solve)


_RECORDINGS = Recordings(lambda device: RECORDERS[device.type](device), kind_of)


def obstacle(solve: Solve) -> str | None:
    """Why `solve` can't use a recording, as a sentence; None if it can.  Makes the recording if there is none."""
    y0 = solve.y0
    if y0.device.type not in RECORDERS:
        return f"its state is on {y0.device}, not on a GPU; move field and state there, e.g. by .to('cuda')"
    if torch.compiler.is_compiling() or is_transformed():
        return "transforms of torch.func and torch.compile can't follow a recording"
    if y0.device.type == "cuda" and torch.cuda.is_current_stream_capturing():
        return "the current stream is being captured, and a capture can't hold another one"
    return obstacle_to_recording(solve.field, solve.ts[0], y0) or _RECORDINGS.obstacle(solve)


def run(solve: Solve) -> Run:
    """Solves by a recording; there must be no `obstacle`."""
    try:
        return _RECORDINGS.run(solve)
    except NotRecordable as error:
        raise EngineUnavailable(f"CUDA graphs can't solve this: {error}; use engine eager") from error


def recordings() -> int:
    """The number of recordings that are kept."""
    return len(_RECORDINGS)


def forget_recordings() -> None:
    """Forgets all recordings; a solve whose gradient may still be asked for keeps its recording."""
    _RECORDINGS.forget()
