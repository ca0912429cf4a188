"""Two-dimensional toys: fresh samples of a known distribution at every iteration."""
