"""Cost model of the full study: 7 problems, two methods, some seeds, on any number of GPUs."""
