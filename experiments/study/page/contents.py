"""The pages whose tables and sentences come from the records, and what makes each of their blocks."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache

from experiments.benchmarks.page import contents as benchmarks
from experiments.study.page import cost_model, questions, texts
from experiments.study.page.blocks import blocks, rewritten
from experiments.study.page.cuts import cuts
from experiments.study.page.overview import overview
from experiments.study.page.problem_tables import blocks_of
from experiments.study.page.published import ROOT
from experiments.study.page.records import records
from experiments.study.page.sections import SECTIONS
from pynode.errors import UsageError
from pynode.records.files import write_atomically

PAGES = ("README.md", "experiments/README.md", *benchmarks.PAGES)

TABLES: dict[str, Callable[[], str]] = {
    "overview": overview,
    "records": records,
    "cuts": cuts,
    "multilevel": questions.multilevel,
    "gradients-spiral": questions.gradients_spiral,
    "gradients-flows": questions.gradients_flows,
    "accuracies": questions.accuracies,
    "invertibility": questions.invertibility,
    "training-steps": questions.training_steps,
    "spiral-differences": questions.spiral_differences,
    "winners": questions.winners,
    "stability": questions.stability,
    "plans": cost_model.plans,
    "against-the-study": cost_model.against_the_study,
    "calibration": cost_model.calibration,
    **{name: make for problem in SECTIONS for name, make in blocks_of(problem).items()},
    **benchmarks.BLOCKS,
}
"""Tables by the name of their block."""


@cache
def content(name: str) -> str:
    """What the records say for a block."""
    return TABLES[name]() if name in TABLES else texts.text(name)


def page(path: str) -> str:
    """A page as it is written."""
    return (ROOT / path).read_text(encoding="utf-8")


def as_recorded(text: str) -> str:
    """A page with every block as the records have it; raises `UsageError` for a block that nothing makes."""
    known = {*TABLES, *texts.names()}
    return rewritten(text, {name: content(name) for name in blocks(text) if name in known})


def differing(path: str, text: str | None = None) -> list[str]:
    """The blocks of a page that are not what the records say."""
    written = page(path) if text is None else text
    here, there = blocks(written), blocks(as_recorded(written))
    return [name for name in here if here[name] != there[name]]


def untrue(text: str) -> dict[str, str]:
    """The blocks of a page that the records can't fill any more, by name, each with what has to be rewritten."""
    reasons = {}
    for name in blocks(text):
        try:
            as_recorded(f"<!-- text {name} -->\n<!-- end -->\n")
        except UsageError as error:
            reasons[name] = str(error)
    return reasons


def write(path: str) -> dict[str, str]:
    """Puts the records' blocks into a page; those that they can't fill stay as they are, and are given back."""
    before = page(path)
    written, left = blocks(before), untrue(before)
    after = rewritten(before, {name: written[name] if name in left else content(name) for name in written})
    if after != before:
        write_atomically(ROOT / path, after.encode())
    return left
