"""Blocks on the suite `own-modules`: modules as users write them, pynode-auto beside other programs."""

from __future__ import annotations

from statistics import geometric_mean

from experiments.benchmarks import own_modules
from experiments.benchmarks.own_modules import BASE
from experiments.benchmarks.page.made import benchmark, listed, threads_text
from experiments.benchmarks.records import TIMED, Benchmark, WorkloadRecord
from experiments.study.page.markdown import EMPTY, table, wrapped
from pynode.schemes import SCHEMES

FOLDER = "bench-own-modules"

SCHEME = "rk38"
"""By which every module is solved; see `suites.own_workload`."""

TITLE = "Own modules, "


def _workloads(published: Benchmark) -> list[WorkloadRecord]:
    """The workloads that pynode-auto was timed on."""
    return [w for workloads in own_modules.by_batch(published).values() for w in workloads]


def set_up() -> str:
    """How many modules, steps and batch sizes, how closely gradients had to agree, and who was timed on fewer."""
    published = benchmark(FOLDER)
    workloads = [] if published is None else _workloads(published)
    if published is None or not workloads:
        return ""
    first, modules = workloads[0], {w.module for w in workloads}
    steps = first.n_stages // len(SCHEMES.load(SCHEME).b)
    batches = listed([str(batch) for batch in own_modules.by_batch(published)])
    bounds = [e.bound for e in published.entries if e.status == TIMED and e.bound is not None]
    said = (
        f"{len(modules)} modules, each solved by `{SCHEME}` in {steps} steps, in {first.dtype} on "
        f"{threads_text(first.threads)}, at batch {batches}."
    )
    if bounds:
        said += f" Losses and gradients agree to {max(bounds):.0e}."
    timed: dict[str, set[str]] = {}
    for workload in workloads:
        for name in published.seconds(workload.name):
            timed.setdefault(name, set()).add(workload.module)
    if fewer := [f"{name} ({len(on)})" for name, on in timed.items() if len(on) < len(modules)]:
        said += f" Timed on fewer modules: {', '.join(fewer)}."
    return wrapped(said)


def engines() -> str:
    """What stands above the table: what is compared, and on which engine pynode-auto ran."""
    published = benchmark(FOLDER)
    names = {w.name for w in _workloads(published)} if published is not None else set()
    if published is None or not names:
        return ""
    ran = [e.engine for e in published.entries if e.entrant == BASE and e.workload in names]
    fused = sum(engine == "fused" for engine in ran)
    where = "throughout" if fused == len(ran) else f"on {fused} of {len(ran)} workloads"
    return wrapped(
        f"How many times as long the others take as {BASE}, which ran on the kernels {where} (geometric means, in "
        "brackets the number of modules):"
    )


def times_as_long() -> str:
    """Geometric means over the modules, a row for each batch size."""
    published = benchmark(FOLDER)
    shown = (
        [t for t in own_modules.tables(published) if t.title.startswith(f"{TITLE}batch")]
        if published is not None
        else []
    )
    others = list(dict.fromkeys(name for t in shown for name in t.columns[3:]))
    rows = []
    for t in shown:
        means = dict(zip(t.columns[3:], t.rows[-1][3:], strict=True))
        rows.append([t.title.removeprefix(TITLE), *(means.get(name, "–") for name in others)])
    return table(["", *others], rows) if others else EMPTY


def finding() -> str:
    """Who is faster than pynode-auto, and at which batch sizes."""
    published = benchmark(FOLDER)
    if published is None:
        return ""
    means = [
        (name, batch, geometric_mean(ratios.values()))
        for batch, workloads in own_modules.by_batch(published).items()
        for name, ratios in own_modules.times_as_long(published, workloads).items()
    ]
    if not means:
        return ""
    faster: dict[str, list[str]] = {}
    for name, batch, mean in means:
        if mean < 1:
            faster.setdefault(name, []).append(str(batch))
    if not faster:
        return f"By the geometric mean no other program of this table is faster than {BASE}."
    said = [f"{name} is faster than {BASE} at batch {listed(batches)}" for name, batches in faster.items()]
    return wrapped(f"By the geometric mean {', '.join(said)}.")
