"""What the kernels integrate: a vector field by its layout, value, cotangents and parameters.

Steppers (`fixed`, `adaptive`, `adjoint`) know of it no more than

- the sizes at the head of `layout.Field`: tape, scratch memory, packed parameters and their cotangent, state;
- `value.set_gates` (what depends on time alone), `value.set_directions` (once a tile) and `value.value`;
- `cotangents.cotangents`, by state and parameters at once, from the tape that `value` has filled;
- `parameters.pack` and `parameters.unpack`, between theta's tensors and what the kernels multiply by;
- `single`, the faster way of a sample that is alone.
"""
