"""What was decided about a model of a series, in sentences for a reader."""

from __future__ import annotations

import numpy as np

from pynode.trajectories.build import Prepared
from pynode.trajectories.description import duration
from pynode.trajectories.parts import Parts
from pynode.trajectories.windows import breaks
from pynode.wording import counted, verb


def decisions(prepared: Prepared, parts: Parts) -> list[str]:
    """Sentences about hidden dimensions, windows, what is held out, and what forecasts assume."""
    series, sizes = prepared.series, prepared.sizes
    lines = []
    if sizes.hidden:
        words = " and ".join(prepared.hidden_words)
        why = ""
        if prepared.ambiguous:
            names = ", ".join(prepared.ambiguous)
            several = len(prepared.ambiguous)
            why = f": {names} {verb(several, 'passes', 'pass')} the same level in both directions"
            if sizes.impulses:
                how = verb(several, "rises before it falls, or falls", "rise before they fall, or fall")
                why = f": after a dose {names} {how} in two phases"
        lines.append(f"{counted(sizes.hidden, 'hidden dimension')} ({words}){why} (augment=0 for none)")
    rows = max(len(each.times) for each in series.each)
    if rows > prepared.window:
        span = duration(series.axis, prepared.scaling.time)
        longer = sorted(set(prepared.growth()) - {1})
        later = f" and, later on, of {' and '.join(map(str, longer))} times as many" if longer else ""
        lines.append(
            f"trained in windows of {prepared.window} rows{later}; the model's unit of time is {span} (window=N for "
            "others)"
        )
    if prepared.restraint is not None:
        linear, free = prepared.backtested
        kind = "a drift alone" if np.isinf(prepared.restraint.linear) else "a linear field"
        lines.append(
            f"the field is held near {kind}, which forecasts later training rows from earlier ones with an error of "
            f"{linear:.2g} standard deviations; one with a network: {free:.2g} (hidden=WIDTHS for a free one)"
        )
    if gaps := sum(len(breaks(grid)) for grid in prepared.grids):
        lines.append(f"windows do not span {counted(gaps, 'long gap')} between rows")
    told = f"held out: {parts.sentence}"
    if parts.anything_held_out:
        told += "; errors of forecasts are measured there, then training goes on with all rows"
    lines.append(told)
    if sizes.impulses:
        names = ", ".join(n for n, kind in zip(series.inputs, series.input_kinds, strict=True) if kind == "jumps")
        lines.append(f"forecasts assume no {names} after the last one given")
        if prepared.nothing is not None:
            lines.append(f"without {names} a level of 0 is expected to stay there")
    return lines
