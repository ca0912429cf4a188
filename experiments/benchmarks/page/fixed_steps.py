"""Blocks on Disc-Opt in the suite `cpu`: times, how near the kernels are to the least work, first calls."""

from __future__ import annotations

from experiments.benchmarks.kinds import turns_won
from experiments.benchmarks.page.made import benchmark, listed, threads_text
from experiments.benchmarks.records import Benchmark, WorkloadRecord, ratios, spread
from experiments.benchmarks.tables import BASE, milliseconds, tables
from experiments.study.page.markdown import EMPTY, table, wrapped
from pynode.studies.base import Table, number

FOLDER = "bench-cpu"

ENTRANTS = (BASE, f"{BASE} autograd", "pynode-eager", "torchdiffeq", "jax", "diffrax")
"""The order of rows; others follow in that of the records."""

TITLES = {
    "spiral": "spiral",
    "8gaussians-100": "8gaussians, `batch 100`",
    "8gaussians-512": "8gaussians, `batch 512`",
    "miniboone-1000": "MINIBOONE's size, `batch 1000`",
}
"""Workloads as the page calls them."""

LARGEST = "miniboone-1000"

OF_PROFILE = ("ms if products were all", "ms if bytes were all", "ms measured", "of the square product")
"""Rows of the table Profile that the page shows."""

SHARE, FASTEST = "of the square product", "fastest of pynode's"

COMPILING = (BASE, "jax")
"""Whose first calls the page shows."""


def _raced(published: Benchmark) -> list[WorkloadRecord]:
    """The workloads by fixed steps that somebody was timed on."""
    return [w for w in published.workloads if w.method == "disc-opt" and not w.axis and published.seconds(w.name)]


def _title(workload: str) -> str:
    return TITLES.get(workload, workload)


def types() -> str:
    """Number type and threads of the workloads."""
    published = benchmark(FOLDER)
    if published is None:
        return ""
    groups: dict[str, list[str]] = {}
    for workload in _raced(published):
        problem = _title(workload.name).partition(",")[0]
        names = groups.setdefault(f"{workload.dtype}, {threads_text(workload.threads)}", [])
        names += [problem] * (problem not in names)
    return wrapped("; ".join(f"{listed(names)}: {kind}" for kind, names in groups.items()) + ".") if groups else ""


def race() -> str:
    """Milliseconds of an iteration, and in brackets how many times as long as the kernels."""
    published = benchmark(FOLDER)
    workloads = [] if published is None else _raced(published)
    seconds = {w.name: published.seconds(w.name) for w in workloads} if published is not None else {}
    there = dict.fromkeys(name for by_entrant in seconds.values() for name in by_entrant)
    names = [n for n in ENTRANTS if n in there] + [n for n in there if n not in ENTRANTS]
    rows = [[name, *(_time(by_entrant, name) for by_entrant in seconds.values())] for name in names]
    return table(["", *map(_title, seconds)], rows)


def _time(seconds: dict[str, list[float]], entrant: str) -> str:
    """A cell; without brackets where the kernels were not timed."""
    if entrant not in seconds:
        return ""
    shown = milliseconds(spread(seconds[entrant]).middle)
    if entrant == BASE:
        return f"{shown} (1)"
    ratio = ratios(seconds[entrant], seconds[BASE]) if BASE in seconds else None
    return shown if ratio is None else f"{shown} ({number(ratio.middle)}, {number(ratio.low)}–{number(ratio.high)})"


def certainty() -> str:
    """At the largest size: how near the kernels are to a product of matrices, and who was faster in how many turns."""
    published = benchmark(FOLDER)
    seconds = {} if published is None else published.seconds(LARGEST)
    others = sorted((n for n in seconds if n != BASE), key=lambda name: spread(seconds[name]).middle)
    if published is None or BASE not in seconds or not others:
        return ""
    size = _title(LARGEST).partition(",")[0]
    won = ", ".join(f"{name} {turns_won(seconds[name], seconds[BASE])}" for name in others)
    said = [f"Turns in which others were faster than the kernels at {size}: {won}."]
    shares = dict(zip(*_of_kernels(published, SHARE), strict=True))
    if LARGEST in shares:
        said.append(f"The kernels reach {shares[LARGEST]} of the rate of a square product by torch there.")
    if unsure := [name for name in others if _is_unsure(seconds[name], seconds[BASE])]:
        said.append(
            f"For {listed(unsure)} the quartiles of the ratio lie on both sides of 1: who is faster is not certain."
        )
    return wrapped(" ".join(said))


def _is_unsure(peer: list[float], base: list[float]) -> bool:
    """Whether the middle half of the turns does not say who is faster."""
    ratio = ratios(peer, base)
    return ratio is not None and ratio.low < 1 < ratio.high


def _of_kernels(published: Benchmark, quantity: str) -> tuple[list[str], list[str]]:
    """The workloads whose profile is that of the kernels, and a row of it."""
    profile = _table(published, "Profile")
    rows = {row[0]: row[1:] for row in profile.rows} if profile is not None else {}
    if profile is None or FASTEST not in rows:
        return [], []
    kept = [k for k, name in enumerate(rows[FASTEST]) if name.split()[0] == BASE]
    return [profile.columns[1 + k] for k in kept], [rows[quantity][k] for k in kept]


def ceilings() -> str:
    """The time of the kernels beside the least work of the algorithm."""
    published = benchmark(FOLDER)
    names = [] if published is None else _of_kernels(published, FASTEST)[0]
    if published is None or not names:
        return EMPTY
    return table(["", *map(_title, names)], [[q, *_of_kernels(published, q)[1]] for q in OF_PROFILE])


def first_calls() -> str:
    """Seconds of the first unit of work where code is compiled, and with compiled code on disk."""
    published = benchmark(FOLDER)
    calls = None if published is None else _table(published, "First calls")
    rows = [[row[k] for k in (1, 0, 4, 5)] for row in (calls.rows if calls is not None else [])]
    return table(["workload", "", "first", "cached"], [row for row in rows if row[1] in COMPILING])


def _table(published: Benchmark, title: str) -> Table | None:
    return next((t for t in tables(published) if t.title == title), None)
