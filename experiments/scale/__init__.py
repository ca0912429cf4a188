"""Cost model of the full study: 7 problems, two methods, some seeds, on any number of GPUs.

`work` counts what one field evaluation does, `study` says how many of them a cell needs, `cost` turns both into
seconds, `allreduce` and `scheduling` put cells on GPUs.  `calibration` and `measurement` check it all on this machine.
"""
