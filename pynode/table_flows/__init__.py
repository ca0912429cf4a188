"""Trained flows of tables: likelihoods of new rows, and samples, in the units and names of the file."""
