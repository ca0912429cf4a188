"""How a module becomes a tape: one evaluation, watched by torch's dispatcher.

Every number of every tensor carries a label that says where it comes from (`labels`), so that views, slices and
concatenations are no operations at all; `tracer` watches, `builder` writes the tape, and the other files are the rules
for torch's operators.
"""
