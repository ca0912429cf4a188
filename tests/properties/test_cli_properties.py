"""The command line: any arguments end in one of the documented statuses, a mistake in one line, nothing in a traceback.

Every command that would train or solve for long is given an --out that it must refuse, which it does after all else has
been checked; so what is tried here is all that comes before the work.
"""

from __future__ import annotations

import contextlib
import io
import json
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import typer
from hypothesis import example, given
from hypothesis import strategies as st

from pynode.cli import app, main
from pynode.methods import METHODS
from pynode.problems import PROBLEMS
from pynode.schemes import SCHEMES
from tests.properties.profiles import tried
from tests.properties.strategies import mostly, plain

STATUSES = {0, 1, 2, 130, 143}
GROUP: Any = typer.main.get_command(app)
LEFT_OUT = {
    # downloads, installs or starts Julia
    ("data", "fetch"),
    ("julia", "setup"),
    ("julia", "status"),
    ("julia", "train"),
}
COMMANDS: dict[tuple[str, ...], Any] = {
    (*path, name): command
    for path, group in (((), GROUP), (("data",), GROUP.commands["data"]))
    for name, command in group.commands.items()
    if not hasattr(command, "commands") and (*path, name) not in LEFT_OUT
}
HARMLESS = {("list",), ("show",), ("data", "list"), ("evaluate",), ("sample",)}
"""Those that have no --out to refuse: what they work on is not there."""

texts = st.text(st.characters(codec="utf-8", exclude_characters="\0"), max_size=8)
numbers = st.one_of(
    st.sampled_from(
        ["0", "1", "2", "-1", "1.5", "1e-3", "nan", "inf", "-inf", "1e400", "9" * 30, "9" * 5000, "0x10", "1_0"]
    ),
    st.integers(-2, 10).map(str),
    st.floats().map(str),
)
WORDS = """
    spiral csv npy digits eager fused auto julia torch cpu cuda cuda:7 mps meta float32 float64 store checkpoint dopri5
    tsit5 local ray skip restore stop all stiffness mlp hidden=4,4 batch=10 seed=0,1 rtol=1e-3 problem=spiral
    method=disc-opt set.hidden=4
"""
words = st.sampled_from([*PROBLEMS.names(), *METHODS.names(), *SCHEMES.names(), *WORDS.split()])
PLACES = (
    "nosuch",
    "empty",
    "used",
    "file",
    "damaged",
    "used/foreign",
    "file/below",
    "t.csv",
    "t.npy",
    "t.toml",
    "x" * 300,
)
values = st.one_of(
    words, words, numbers, texts, st.lists(words | numbers | texts, max_size=3).map(",".join), st.sampled_from(PLACES)
)


@st.composite
def arguments(draw: st.DrawFn) -> list[str]:
    """A command with its own arguments and options, most with values of the right kind."""
    path = draw(st.sampled_from(sorted(COMMANDS)))
    line = list(path)
    for param in draw(st.permutations(COMMANDS[path].params)):
        if param.param_type_name == "argument":
            fitting = st.sampled_from(PROBLEMS.names()) if param.name == "problem" else st.sampled_from(PLACES)
            if param.required or draw(st.booleans()):
                line.insert(len(path), draw(mostly(fitting, values)))
        elif draw(st.integers(0, 7)) == 0:
            line.append(draw(st.sampled_from([*param.opts, *param.secondary_opts])))
            if not param.is_flag:
                line.append(draw(mostly(_fitting(param), values)))
    if draw(st.integers(0, 9)) == 0:
        line.insert(draw(st.integers(0, len(line))), draw(st.sampled_from(["--nosuch", "-x", "--", "-h", "--out", ""])))
    return line


def _fitting(param: Any) -> st.SearchStrategy[str]:
    # newer typers keep a description where click keeps the type
    kind = repr(getattr(param, "type", None) or param.type_descriptor).lower()
    if "int" in kind:
        return st.integers(-1, 9).map(str) | numbers
    if "float" in kind:
        return st.floats(1e-9, 1).map(str) | numbers
    return st.sampled_from(PLACES) if "path" in kind else values


@pytest.fixture(scope="module")
def folder() -> Iterator[Path]:
    """Where the places are; the command line works there."""
    before = Path.cwd()
    with tempfile.TemporaryDirectory() as name:
        here = Path(name)
        for place in ("empty", "used", "damaged"):
            (here / place).mkdir()
        (here / "used" / "foreign").touch()
        (here / "file").touch()
        (here / "damaged" / "runs" / "a").mkdir(parents=True)
        (here / "damaged" / "runs" / "a" / "config.json").write_text('{"problem": "spiral"}')
        (here / "t.csv").write_text("a,b\n1,2\n")
        (here / "t.npy").write_bytes(b"\x93NUMPY\x01\x00")
        (here / "t.toml").write_text("iterations = 3\n")
        os.chdir(here)
        yield here
        os.chdir(before)


def run(given_arguments: list[str]) -> None:
    """Fails unless the command ends as documented."""
    path = tuple(given_arguments[:2]) if given_arguments[:1] == ["data"] else tuple(given_arguments[:1])
    command = list(given_arguments)
    stop: list[str] = []
    if path == ("sweep",):
        stop = ["--dry-run"]
    elif path in COMMANDS and path not in HARMLESS:
        stop = ["--out", "used"]
    if "--" in command:  # what follows is no option
        at = command.index("--")
        command[at:at] = stop
    else:
        command += stop
    # as a terminal's: what can't be encoded is escaped
    out, error = (io.TextIOWrapper(io.BytesIO(), "utf-8", errors="backslashreplace") for _ in range(2))
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(error):
        status = main(command)
    error.flush()
    said = error.buffer.getvalue().decode()
    assert status in STATUSES
    if status == 0:
        assert said == ""
    else:
        assert said.startswith("error: "), said
        assert said.count("\n") == 1
        assert "Traceback" not in said
    assert not Path("results").exists()


@given(arguments())
@tried(30)
def test_any_arguments(folder: Path, drawn: list[str]) -> None:  # noqa: ARG001
    run(drawn)


@given(
    st.lists(st.one_of(st.sampled_from([name for path in COMMANDS for name in path]), values), min_size=1, max_size=4)
)
@tried(10)
def test_any_words(folder: Path, drawn: list[str]) -> None:  # noqa: ARG001
    if tuple(drawn[:2]) in LEFT_OUT or drawn[0] == "julia":
        return
    run(drawn)


# --- TOML files ------------------------------------------------------------------------------------------------------

WITH_FILE = sorted(path for path, command in COMMANDS.items() if any(p.name == "config" for p in command.params))


def _toml(value: Any) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, list):
        return f"[{', '.join(map(_toml, value))}]"
    if isinstance(value, dict):
        return "{" + ", ".join(f"{json.dumps(str(k))} = {_toml(v)}" for k, v in value.items()) + "}"
    if isinstance(value, (int, float)):
        return str(value)
    # JSON's escapes are TOML's, but for the surrogates
    return json.dumps("none" if value is None else str(value), ensure_ascii=False).replace("\x7f", "\\u007f")


@st.composite
def files(draw: st.DrawFn) -> tuple[tuple[str, ...], str]:
    path = draw(st.sampled_from(WITH_FILE))
    names = [str(p.name) for p in COMMANDS[path].params if p.name not in ("config", "out")]
    lines = []
    for name in draw(st.lists(st.sampled_from([*names, *names, "set", "nosuch", "out"]), max_size=3, unique=True)):
        value = draw(st.one_of(values, st.integers(-1, 9), st.floats(), st.booleans(), plain, st.just("2026-01-01")))
        lines.append(f"{name} = {_toml(value)}")
    return path, "\n".join(lines) + draw(st.sampled_from(["", "", "\n[table]\n", "\nx", "\na.b = 1", "\x00"]))


@given(files())
@example((("compare",), 'data = "a\\u0000b"'))
@example((("compare",), 'config = "a\\u0000b"'))
@example((("gradients",), 'at = "a\\u0000b"'))
@tried(20)
def test_any_toml_file(folder: Path, drawn: tuple[tuple[str, ...], str]) -> None:
    path, text = drawn
    (folder / "drawn.toml").write_text(text, encoding="utf-8", errors="surrogatepass")
    needed = ["spiral"] if any(p.name == "problem" and p.required for p in COMMANDS[path].params) else []
    run([*path, *needed, "--config", "drawn.toml"])


@given(st.binary(max_size=60))
@tried(10)
def test_any_bytes_as_a_toml_file(folder: Path, content: bytes) -> None:
    (folder / "bytes.toml").write_bytes(content)
    run(["compare", "spiral", "--config", "bytes.toml"])
