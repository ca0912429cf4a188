"""What the kernels integrate: a vector field by its layout, value, cotangents and parameters.

Steppers (`fixed`, `adaptive`, `adjoint`) know of it no more than

- the sizes at the head of `layout.Field`: tape, scratch memory, packed parameters and their cotangent, state;
- `value.set_gates` (what depends on time alone), `value.set_directions` (once a tile) and `value.value`;
- `cotangents.cotangents`, by state and parameters at once, from the tape that `value` has filled;
- `parameters.pack` and `parameters.unpack`, between theta's tensors and what the kernels multiply by;
- `single`, the faster way of a sample that is alone.

A field is a chain of dense layers, or the program of a tape (`fused.program`).

A tape is the memory of one evaluation: the state, what each layer gets and computes, the value, and the tangents of all
of them behind.  Everything is an offset into it, written in `layout`; so is where the packed parameters and their
cotangent hold what.  The formulas of single numbers are in `activations`, those of matrices in `products` (blocks of
rows) and `row_products` (one row).
"""
