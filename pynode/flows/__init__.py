"""Continuous normalizing flows: a vector field, a divergence and a horizon make a density (Chen et al. 2018)."""
