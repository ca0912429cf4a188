"""User text is printed as it is, and no print goes around the one module that sees to it."""

from __future__ import annotations

import ast
import io
from collections.abc import Iterator
from pathlib import Path

import pytest
from rich.table import Table

from pynode.cli import main
from pynode.cli.console import PlainConsole, tidy_environment, visible
from pynode.cli.streams import SteadyStream

ROOT = Path(__file__).resolve().parents[2]
TEXTS = ["a[/b]", "pip install -e '.[peers]'", "[red]x[/red]", ":smile: 1e-3", "[link=x]y", "\\[b]", "[", "[/]"]

PRINTERS = (*(ROOT / "pynode").rglob("*.py"), *(ROOT / "experiments").rglob("command.py"), ROOT / "experiments/run.py")
FREE = ("pynode/cli/console.py", "pynode/cli/streams.py", "experiments/run.py")
"""The console and what it is made from, and the script that names missing packages, among which rich may be."""


def bypasses(source: str) -> Iterator[str]:
    """Calls that print without a `PlainConsole`, or that have text taken for markup."""
    for node in ast.walk(ast.parse(source)):
        if not isinstance(node, ast.Call):
            continue
        name = ast.unparse(node.func)
        if name in ("print", "Console", "rich.print", "typer.echo", "click.echo", "typer.secho", "Status"):
            yield name
        if name.endswith(("from_markup", "stdout.write", "stderr.write")):
            yield name
        marked = {keyword.arg: keyword.value for keyword in node.keywords}
        if name == "TextColumn" and not (isinstance(m := marked.get("markup"), ast.Constant) and m.value is False):
            yield "TextColumn without markup=False"


@pytest.mark.parametrize("path", PRINTERS, ids=lambda path: str(path.relative_to(ROOT)))
def test_nothing_prints_around_the_console(path: Path) -> None:
    if path.relative_to(ROOT).as_posix() not in FREE:
        assert list(bypasses(path.read_text(encoding="utf-8"))) == []


def test_a_bypass_would_be_seen() -> None:
    assert list(bypasses("from rich.console import Console\nConsole().print('x')")) == ["Console"]
    assert list(bypasses("TextColumn('x')")) == ["TextColumn without markup=False"]
    assert list(bypasses("print('x')\nText.from_markup('[b]')")) == ["print", "Text.from_markup"]


@pytest.mark.parametrize("text", TEXTS)
def test_every_way_to_print_leaves_text_as_it_is(text: str) -> None:
    file = io.StringIO()
    console = PlainConsole(file=file, width=200, force_terminal=False)
    console.say(text)
    console.print(text)
    console.rule(text)
    table = Table(title=text, caption=text)
    table.add_column(text)
    table.add_row(text)
    console.print(table)
    assert file.getvalue().count(text) == 7


@pytest.mark.parametrize("text", TEXTS)
def test_a_spinner_leaves_text_as_it_is(text: str) -> None:
    file = io.StringIO()
    console = PlainConsole(file=file, width=200, force_terminal=True, no_color=True)
    with console.status(text) as status:
        status.update(f"more {text}")
    assert f"more {text}" in file.getvalue()


def test_control_characters_are_shown() -> None:
    assert visible("a\x1b[31m\x07b\r") == "a\\x1b[31m\\x07b\\x0d"


@pytest.mark.parametrize("name", ["x[/b]", "[red]", "a [b] c"])
def test_results_in_a_folder_with_brackets(name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / name.replace("/", "-") / "out[-b]"
    out.parent.mkdir()
    options = ["--methods", "disc-opt", "--scheme", "euler"]
    assert main(["taylor", "spiral", *options, "--out", str(out)]) == 0
    assert f"all tables in {out / 'tables.md'}" in capsys.readouterr().out


def test_widths_that_no_terminal_has() -> None:
    for value in ("0", "-3", "wide", "²", "9" * 20, "", "1"):
        environment = {"COLUMNS": value, "LINES": value, "MPLBACKEND": "nosuch", "HOME": "/"}
        tidy_environment(environment)
        assert environment == {"HOME": "/"}
    environment = {"COLUMNS": "132"}
    tidy_environment(environment)
    assert environment == {"COLUMNS": "132"}


@pytest.mark.parametrize(
    ("encoding", "written"), [("ascii", b"1-2 x \\xe9"), ("latin-1", b"1-2 \xd7 \xe9"), ("utf-8", "1–2 × é".encode())]
)
def test_letters_that_an_encoding_lacks(encoding: str, written: bytes) -> None:
    raw = io.BytesIO()
    stream = SteadyStream(io.TextIOWrapper(raw, encoding=encoding))
    stream.write("1–2 × é")
    stream.flush()
    assert raw.getvalue() == written
