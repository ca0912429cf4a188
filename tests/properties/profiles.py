"""How many examples a property is tried on: a few of the same in each run of CI, a thousand and more in the long one.

PYNODE_HYPOTHESIS=long python -m pytest tests/properties
"""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any

from hypothesis import HealthCheck, settings

VARIABLE = "PYNODE_HYPOTHESIS"
LONG = os.environ.get(VARIABLE) == "long"
CI_EXAMPLES, LONG_EXAMPLES = 25, 1000

# drawing structured input filters a lot, and a solve is slower than what hypothesis thinks of as a test
_UNHURRIED = [HealthCheck.too_slow, HealthCheck.filter_too_much, HealthCheck.data_too_large]


def register() -> None:
    """Registers the profiles `ci` and `long` and loads the one that the environment asks for."""
    shared: dict[str, Any] = {"deadline": None, "database": None, "suppress_health_check": _UNHURRIED}
    settings.register_profile("ci", max_examples=CI_EXAMPLES, derandomize=True, **shared)
    settings.register_profile("long", max_examples=LONG_EXAMPLES, print_blob=True, **shared)
    settings.load_profile("long" if LONG else "ci")


def tried(in_ci: int, in_long: int = LONG_EXAMPLES) -> Callable[[Any], Any]:
    """Another number of examples in CI, for a property that is slow or that needs many."""
    return settings(max_examples=in_long if LONG else in_ci)
