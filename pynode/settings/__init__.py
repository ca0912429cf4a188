"""What users set: options as their dataclasses declare them, and values that users give for them.

`declared` reads names, types, defaults and help from the source, so that neither `--help` nor the refusal of a wrong
value needs torch; `known` says which methods, problems and runs have which options; `values` turns text and TOML into
typed values.
"""
