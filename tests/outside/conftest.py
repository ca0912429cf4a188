"""Members from outside are known as long as a process lives: each test begins without those of the others."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.outside.members import forget


@pytest.fixture(autouse=True)
def no_members_from_other_tests() -> Iterator[None]:
    """Forgets the members of files afterwards."""
    yield
    forget()
