"""Flows of tables at work: likelihoods of new rows, and samples, in the units and names of the file."""
