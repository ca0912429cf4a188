"""Data: the tabular benchmarks of Papamakarios et al. 2017, handwritten digits, and a user's own tables.

`cache` has the benchmarks by name, `digits` the digits, `tables` what a user brings; each gives `splits.Splits`.
`frame` reads a table of numbers, dates and words from a file of text, Parquet or NumPy.
"""
