"""Sweeps: a grid of runs, each in a process of its own, on this machine or on a Ray cluster.

`grid` turns axes into cells, `layout` says where a cell lies on disk, `worker` runs one cell, `executors` give cells to
processes, `driver` sees them through.  Everything between them is JSON: no pickles, no shell.
"""
