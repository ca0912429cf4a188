"""Gradients of fixed-step solves from fewer states than steps: what is stored when, and steps rebuilt one at a time."""
