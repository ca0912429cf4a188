"""Solves on a GPU as CUDA graphs: all kernels of a solve are recorded once and launched together."""
