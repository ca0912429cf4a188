"""Property tests: whatever goes in, what comes out is as documented or a typed error.

python -m pytest tests/properties                             # a few examples a property, the same each time
PYNODE_HYPOTHESIS=long python -m pytest tests/properties      # 1,000 and more, new ones each time
"""

from __future__ import annotations

import tempfile
from pathlib import Path

import pytest
from hypothesis.configuration import set_hypothesis_home_dir

from tests.properties.profiles import LONG

_HOME = tempfile.TemporaryDirectory(prefix="pynode-hypothesis-")
set_hypothesis_home_dir(_HOME.name)  # what it keeps for itself goes with the process, not into the checkout


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """A thousand solves may outlast the limit that stands for a test that hangs."""
    if LONG:
        for item in items:
            if Path(__file__).parent in item.path.parents:
                item.add_marker(pytest.mark.timeout(0))
