"""How a solve is executed: by torch operators, or by compiled kernels."""
