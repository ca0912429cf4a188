"""Puts the Julia package into wheels: what lies in julia/ here lies in pynode/julia/packaged/julia/ there.

Only the build imports this, see `tool.setuptools.cmdclass` in pyproject.toml.  An editable install uses the clone's own
files.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

from setuptools.command.build_py import build_py

HERE = Path(__file__).resolve().parents[2]
PACKAGED = Path("pynode", "julia", "packaged")


def carried() -> Iterator[Path]:
    """The files that travel, relative to the clone: julia/ without its tests, which read files of tests/."""
    yield Path("Project.toml")
    yield Path("julia", "Project.toml")
    yield Path("julia", "README.md")
    for path in sorted((HERE / "julia" / "src").rglob("*")):
        if path.is_file():
            yield path.relative_to(HERE)


class BuildWithJulia(build_py):
    """Copies the package's modules, and the Julia package beside them."""

    def run(self) -> None:
        super().run()
        if self.editable_mode:
            return
        shutil.rmtree(Path(self.build_lib, PACKAGED), ignore_errors=True)  # build/ may be of an earlier build
        for path in carried():
            target = Path(self.build_lib, PACKAGED, path)
            target.parent.mkdir(parents=True, exist_ok=True)
            self.copy_file(str(HERE / path), str(target), preserve_mode=False)

    def get_outputs(self, include_bytecode: bool = True) -> list[str]:
        julia = [] if self.editable_mode else [str(Path(self.build_lib, PACKAGED, path)) for path in carried()]
        return [*super().get_outputs(include_bytecode), *julia]

    def get_source_files(self) -> list[str]:
        """What an sdist holds, so that a wheel made of it carries the same."""
        return [*super().get_source_files(), *(str(path) for path in carried())]
