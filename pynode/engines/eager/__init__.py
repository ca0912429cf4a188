"""Torch operators, and torchdiffeq for adaptive steps."""
