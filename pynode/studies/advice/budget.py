"""How long advice may take."""

BUDGET = 60.0
"""Seconds that advice may take where nobody says otherwise, without the compilation of kernels."""
