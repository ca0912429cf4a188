"""What experiments/benchmarks/README.md and pynode/julia/README.md show of the published records: tables and sentences.

Every function makes one block, named in `contents.py`; `study page --write` puts them into the pages.  Rows and
sentences that the records don't have (a program that was not installed, a machine without Julia) are left out.
"""
