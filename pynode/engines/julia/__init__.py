"""Julia: the SciML stack, in a process of its own."""
