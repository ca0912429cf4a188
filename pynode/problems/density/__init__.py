"""Densities: fit a continuous normalizing flow to samples by maximum likelihood."""
