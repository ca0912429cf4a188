"""Proves that a command changed no file: what a directory tree holds, before and after."""

from __future__ import annotations

import hashlib
from pathlib import Path

LEFT = (".lock", ".holder")
"""Files that a command may leave without having changed anything."""


def snapshot(root: Path) -> dict[str, str]:
    """The kind and content of everything below `root`, by its path."""
    entries = {}
    for path in sorted(root.rglob("*")):
        name = str(path.relative_to(root))
        if path.is_symlink():
            entries[name] = f"link to {path.readlink()}"
        elif path.is_dir():
            entries[name] = "directory"
        elif path.is_file() and path.name not in LEFT:
            entries[name] = hashlib.sha256(path.read_bytes()).hexdigest()
    return entries
