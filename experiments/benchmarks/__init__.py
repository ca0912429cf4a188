"""Benchmarks: the same work by pynode's engines and by others, side by side in one run.

A case (`cases.py`) poses workloads as plain numbers; an entrant (`entrants/`) does the work, each in a process of its
own; a suite (`suites.py`) says which workloads, and what is measured.  Tables and figures are made from records alone.
"""
