"""What the kernels integrate: a vector field by its layout, value, cotangents and parameters.

Steppers (`fixed`, `adaptive`, `continuous_adjoint`) know of it no more than

- the sizes at the head of `layout.Field`: tape, scratch memory, packed parameters and their cotangent, state;
- the functions of `interface`, which call the field's own compiled function (`compiled`).

A field is a chain of dense layers (`chain`: the four architectures, and tapes of that form), or the program of a tape
(`programs`, and the folder `pynode.engines.fused.program`).  Of a chain,

- `value` gives the slope, and `cotangents` those by state and parameters at once, from the tape of `value`;
- `parameters` goes between theta's tensors and what the kernels multiply by;
- `single` is the faster way of a sample that is alone.

A tape is the memory of one evaluation: the state, what each layer gets and computes, the value, and the tangents of all
of them behind.  Everything is an offset into it, written in `layout`; so is where the packed parameters and their
cotangent hold what.  The formulas of single numbers are in `activations`, `elementary` and `functions`, those of
matrices in `products` (blocks of rows) and `row_products` (one row).
"""
