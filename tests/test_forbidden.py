"""Nothing in the repository runs what it was only given to read: no unpickling, no shell, no code made of text.

The sources are parsed, so that a construct that would allow it can't come back unnoticed.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
PYTHON = sorted(p for folder in ("pynode", "experiments", "tests") for p in (ROOT / folder).rglob("*.py"))
JULIA = sorted((ROOT / "julia").rglob("*.jl")) + sorted((ROOT / "tests").rglob("*.jl"))

UNPICKLERS = ("pickle", "cPickle", "_pickle", "dill", "cloudpickle", "joblib", "shelve", "marshal")
"""Modules whose reading runs what the bytes say."""

ALLOWED: dict[str, tuple[str, ...]] = {
    # file: what it may nevertheless, and why
    "pynode/datasets/frame_pickle.py": ("import pickle", "pickle.Unpickler"),  # the restricted class itself
    # Numba's cache as Numba has it, in the folder of Python's own compiled files: whoever writes there runs code anyway
    "pynode/engines/fused/machine_code.py": ("import pickle", "pickle.loads"),
    "tests/datasets/test_frame_pickle.py": ("import pickle", "pickle.loads"),  # writes malicious ones, and proves it
    "tests/datasets/test_tables.py": ("allow_pickle",),  # writes one to see it refused
    "tests/datasets/test_import.py": ("import pickle",),  # writes a data frame as the archive holds it
    "tests/datasets/test_preprocessing.py": ("allow_pickle",),  # writes one to see it refused
    "tests/distributed/test_shares.py": ("torch.load",),  # of tensors alone (weights_only), which its own child wrote
    "tests/faults/test_storage.py": ("shell",),  # fills a file system in a namespace, by a script of its own
    "tests/methods/test_pickle.py": ("import pickle", "pickle.loads", "torch.load", "weights_only"),  # its own bytes
    "tests/properties/test_pickle_properties.py": ("import pickle",),  # writes them too
    "tests/tapes/test_captured.py": ("import pickle", "pickle.loads"),  # its own bytes
}

CALLS = {
    # dotted end of a call: what is wrong with it
    "eval": "code made of text",
    "exec": "code made of text",
    "compile": "code made of text",
    "__import__": "code made of text",
    "os.system": "a shell",
    "os.popen": "a shell",
    "subprocess.getoutput": "a shell",
    "subprocess.getstatusoutput": "a shell",
    "asyncio.create_subprocess_shell": "a shell",
    "torch.load": "unpickles",
    "torch.jit.load": "runs what a file says",
    "torch.hub.load": "runs what the network says",
    "torch.package.PackageImporter": "runs what a file says",
    "pandas.read_pickle": "unpickles",
    "pd.read_pickle": "unpickles",
    "pickle.Unpickler": "unpickles",
    "tempfile.mktemp": "a name that others can take first",
    "yaml.load": "makes objects",
    "yaml.unsafe_load": "makes objects",
    "tarfile.extractall": "trusts the names in an archive",
    "shutil.unpack_archive": "trusts the names in an archive",
    "ssl._create_unverified_context": "no certificate is checked",
}
METHODS = {
    # a call of any object's method of this name
    "extractall": "trusts the names in an archive",
    "read_pickle": "unpickles",
    "broadcast_object_list": "unpickles what another rank sent",
    "all_gather_object": "unpickles what another rank sent",
    "gather_object": "unpickles what another rank sent",
    "scatter_object_list": "unpickles what another rank sent",
    "send_object_list": "unpickles what another rank sent",
    "recv_object_list": "unpickles what another rank sent",
}


def dotted(node: ast.expr) -> str:
    """`a.b.c` of a name or of attributes of one; "" where it is made by anything else."""
    if isinstance(node, ast.Name):
        return node.id
    if isinstance(node, ast.Attribute):
        inner = dotted(node.value)
        return f"{inner}.{node.attr}" if inner else ""
    return ""


def found_in(source: str) -> Iterator[tuple[str, int]]:
    """What of the above stands in a Python source, and the line."""
    for node in ast.walk(ast.parse(source)):
        line = getattr(node, "lineno", 0)
        if isinstance(node, ast.Import):
            yield from ((f"import {a.name}", line) for a in node.names if a.name.split(".")[0] in UNPICKLERS)
        elif isinstance(node, ast.ImportFrom):
            module = node.module or ""
            if module.split(".")[0] in UNPICKLERS:
                yield f"import {module}", line
            for alias in node.names:  # `from os import system` under any name
                if f"{module}.{alias.name}" in CALLS:
                    yield f"{module}.{alias.name}", line
        elif isinstance(node, ast.Call):
            yield from ((name, line) for name in called(node))
        elif isinstance(node, ast.Attribute) and dotted(node) == "pickle.Unpickler":
            yield "pickle.Unpickler", line


def called(node: ast.Call) -> Iterator[str]:
    name = dotted(node.func)
    if name in CALLS or (name.split(".")[0] in UNPICKLERS and name.split(".")[-1] in ("load", "loads")):
        yield name
    elif isinstance(node.func, ast.Attribute) and node.func.attr in METHODS:
        yield node.func.attr
    for keyword in node.keywords:
        value = keyword.value
        off = isinstance(value, ast.Constant) and value.value is False
        if keyword.arg == "allow_pickle" and not off:
            yield "allow_pickle"
        if keyword.arg == "shell" and not off:
            yield "shell"
        if keyword.arg == "weights_only" and off:
            yield "weights_only"
    if name in ("np.load", "numpy.load") and "allow_pickle" not in {k.arg for k in node.keywords}:
        yield "np.load without allow_pickle=False"
    words = node.args[0].elts if node.args and isinstance(node.args[0], ast.List) else []
    texts = [w.value for w in words if isinstance(w, ast.Constant)]
    if texts[:1] and str(texts[0]) in ("sh", "bash", "/bin/sh", "/bin/bash", "cmd") and "-c" in texts:
        yield "shell"


@pytest.mark.parametrize("path", PYTHON, ids=lambda p: str(p.relative_to(ROOT)))
def test_no_source_runs_what_it_reads(path: Path) -> None:
    allowed = ALLOWED.get(path.relative_to(ROOT).as_posix(), ())
    wrong = [f"line {line}: {what}" for what, line in found_in(path.read_text(encoding="utf-8")) if what not in allowed]
    assert wrong == []


@pytest.mark.parametrize("path", JULIA, ids=lambda p: str(p.relative_to(ROOT)))
def test_no_julia_source_runs_text(path: Path) -> None:
    """No `eval`, no parsing of code, no external programs, no deserialisation, and only files of its own included."""
    source = "\n".join(line.partition("#")[0] for line in path.read_text(encoding="utf-8").splitlines())
    wrong = re.findall(r"@?\beval\b|Meta\.parse|\binclude_string\b|\bdeserialize\b|\b(?:run|pipeline)\(`", source)
    wrong += [text for text in re.findall(r"\binclude\(([^)]*)\)", source) if not re.fullmatch(r'"[\w/]+\.jl"', text)]
    assert wrong == []


@pytest.mark.parametrize(
    "source",
    [
        "import pickle",
        "from pickle import loads",
        "import pickle as p",
        "x = pickle.loads(b)",
        "class R(pickle.Unpickler): pass",
        "torch.load(path)",
        "torch.load(path, weights_only=False)",
        "np.load(path)",
        "np.load(path, allow_pickle=True)",
        "np.load(path, allow_pickle=flag)",
        "subprocess.run(text, shell=True)",
        "subprocess.run(text, shell=flag)",
        "subprocess.run(['bash', '-c', text])",
        "os.system(text)",
        "from os import system",
        "eval(text)",
        "exec(text)",
        "tar.extractall(folder)",
        "dist.broadcast_object_list(found)",
        "pandas.read_pickle(path)",
        "tempfile.mktemp()",
    ],
)
def test_the_parser_sees(source: str) -> None:
    """So that the tests above can't pass by seeing nothing."""
    assert list(found_in(source))


@pytest.mark.parametrize(
    "source",
    ["np.load(path, allow_pickle=False)", "re.compile(text)", "model.eval()", "subprocess.run(['git', 'log'])"],
)
def test_the_parser_lets_pass(source: str) -> None:
    assert not list(found_in(source))
