"""What all tests of misuse share."""

from tests.misuse.damage import here, templates

__all__ = ["here", "templates"]
