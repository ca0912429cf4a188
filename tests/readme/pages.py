"""A README as text: what it says apart from code, links, names and what is made from records."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from experiments.study.page.blocks import without_blocks
from experiments.study.spiral_differences.variants import PERTURBATION
from pynode.studies.load import IDLE

ROOT = Path(__file__).resolve().parents[2]

NAMES = (
    r"8gaussians[\w-]*",
    r"2spirals",
    r"(?i)bsds300|dopri5|tsit5|vern[79]",
    r"RQ[1-5]",
    r"RK4|RK38|H5|UTF-8|MD5|SHA-256|A100",
    r"8 ?x ?8",
    r"float(32|64)",
    r"3/8 rule",
    r"\((20\d\d)\)",
    r"Python 3\.\d+( to 3\.\d+)?",
    r"Julia 1\.\d+",
    r"\b2-norm",
    r"\by0\b",
)
"""Names that hold digits and are no numbers."""

NAMES_IN_CODE = (
    r"Exit status: (?:`\d+`(?: \(\w+\))?, )+",
    r"(?i)\bstatus `\d+`",
    r"\bexits with `\d+`(?:, `\d+`)* or `\d+`",
    r"\b[ra]tol `1e-\d+`",
    r"\bone process makes `1`",
)
"""What a number that is written as code may belong to: exit statuses, options, and what a load average counts."""

CONSTANTS = (IDLE, PERTURBATION)
"""Numbers of the code that pages write out as code."""

NUMBER_AS_CODE = re.compile(r"`([-+]?\d+(?:,\d{3})*(?:\.\d+)?(?:e[-+]?\d+)?)( ?%)?`")


@dataclass(frozen=True)
class Page:
    """One Markdown page of the repository."""

    path: str

    @property
    def text(self) -> str:
        """The page as it is written."""
        return (ROOT / self.path).read_text(encoding="utf-8")

    @property
    def links(self) -> list[str]:
        """Targets of links and pictures inside the repository."""
        targets = re.findall(r"\]\(([^)#\s]+)[^)]*\)", self.text)
        return [link for link in targets if not link.startswith(("http:", "https:"))]

    def unproven(self) -> list[str]:
        """Numbers outside the blocks that are made from records, each with its surroundings."""
        text = re.sub(r"^```.*?^```", "", without_blocks(self.text), flags=re.DOTALL | re.MULTILINE)
        text = flat(re.sub(r"^\d+\. ", "", text, flags=re.MULTILINE))
        text = without_code(text)
        text = re.sub(r"\]\([^)]*\)", "]", text)
        for name in NAMES:
            text = re.sub(name, "", text)
        return [text[max(0, m.start() - 40) : m.end() + 20] for m in re.finditer(r"\d[\d.,]*", text)]


def without_code(text: str) -> str:
    """Text without what is written as code; a number alone stays, unless it is one of `CONSTANTS` or part of a name."""
    for name in NAMES_IN_CODE:
        text = re.sub(name, "", text)

    def shown(match: re.Match[str]) -> str:
        return "" if float(match[1].replace(",", "")) in CONSTANTS and not match[2] else match[0].strip("`")

    return re.sub(r"`[^`]*`", "`", NUMBER_AS_CODE.sub(shown, text))


def flat(text: str) -> str:
    """Text with every run of white space as one space."""
    return " ".join(text.split())
