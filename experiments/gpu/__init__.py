"""The first run on a machine with a GPU: its tests and its benchmark, within five minutes."""
