"""Tables and sentences with numbers of README.md and experiments/README.md, made from the published records.

`python experiments/run.py study page` says which of them differ from the records, `--write` mends them.
"""
