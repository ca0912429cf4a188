"""Tapes in the kernels: a program of instructions, which are run tile by tile.

- `instructions`: what an instruction, its operands and a whole program are;
- `nodes`: from the operations of a tape to those of a program;
- `layout`: from these to instructions, with the places of all values and cotangents;
- `value` and `cotangents`: one instruction after the other, and back;
- `blocks` and `unary`: loops over blocks of rows, which instructions consist of;
- `parameters`: between the constants of a tape and what instructions read.

An instruction works on a tile at a time, all samples with their tangents, so that finding out what to do takes a small
part of the time.
"""
