"""Blocks of a page between comments: `<!-- table NAME -->` or `<!-- text NAME -->`, and `<!-- end -->`."""

from __future__ import annotations

import re
from collections.abc import Mapping

from pynode.errors import UsageError

BLOCK = re.compile(
    r"^(?P<start><!-- (?:table|text) (?P<name>[\w-]+) -->)\n(?P<content>.*?)^(?P<end><!-- end -->)$",
    flags=re.DOTALL | re.MULTILINE,
)


def blocks(text: str) -> dict[str, str]:
    """The content of every block of a page, by name; raises `UsageError` for a name that occurs twice."""
    contents: dict[str, str] = {}
    for match in BLOCK.finditer(text):
        if match["name"] in contents:
            raise UsageError(f"the block {match['name']} stands twice on one page; name one of them differently")
        contents[match["name"]] = match["content"].strip("\n")
    return contents


def rewritten(text: str, contents: Mapping[str, str]) -> str:
    """The page with the content of each block replaced; raises `UsageError` for a block without content."""
    unknown = sorted(set(blocks(text)) - set(contents))
    if unknown:
        raise UsageError(f"block {unknown[0]}: nothing makes it; write texts/{unknown[0]}.md, or rename the block")
    return BLOCK.sub(lambda m: f"{m['start']}\n{_spaced(contents[m['name']])}{m['end']}", text)


def without_blocks(text: str) -> str:
    """The prose between the blocks."""
    return BLOCK.sub("", text)


def _spaced(content: str) -> str:
    """Tables need an empty line before them and after."""
    if not content:
        return ""
    return f"\n{content}\n\n" if "|---" in content else f"{content}\n"
