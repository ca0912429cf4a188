"""The bridge to Julia: one worker process that holds juliacall, arrays in shared memory, typed errors.

Nothing here imports torch, and only the worker process imports juliacall.
"""
