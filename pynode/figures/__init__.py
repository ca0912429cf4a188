"""Figures: matplotlib only, records only; one file a figure."""
