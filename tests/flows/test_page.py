"""The code of pynode/flows/README.md runs, and the files that it names exist."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PAGE = ROOT / "pynode" / "flows" / "README.md"


def test_the_code_of_the_page_runs() -> None:
    code = "\n".join(re.findall(r"```python\n(.*?)```", PAGE.read_text(encoding="utf-8"), flags=re.DOTALL))
    check = "\nassert float((model(features).argmax(1) == label).float().mean()) > 0.5"
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", code + check],
        capture_output=True,
        text=True,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert "engine: fused" in done.stdout


@pytest.mark.parametrize("page", [PAGE, ROOT / "experiments" / "latent_ode" / "README.md"], ids=lambda p: p.parent.name)
def test_links_and_pictures_exist(page: Path) -> None:
    for target in re.findall(r"\]\(([^)#\s]+)\)", page.read_text(encoding="utf-8")):
        assert (page.parent / target).exists(), target
