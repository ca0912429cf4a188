"""A results directory as one HTML page: findings, figures, tables, configurations and machines, without a network."""
