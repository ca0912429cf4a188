"""A run on a machine with a GPU: its tests and its benchmark, within a time limit."""
