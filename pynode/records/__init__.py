"""Records: what runs and checks leave behind, and the only thing that studies and figures read.

A results directory holds `runs/LABEL/`, each with `config.json`, `environment.json`, `records.jsonl` (one line an
iteration, appended), `summary.json`, `evaluation.json` and a checkpoint; beside them `taylor.jsonl` and
`gradient_errors.jsonl`.
"""
