"""Gradient methods that Julia runs, in a worker process of its own; torch sees one node of autograd."""
