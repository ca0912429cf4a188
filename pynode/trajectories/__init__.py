"""A user's own series over time: read, modelled by a neural ODE, and forecast."""
