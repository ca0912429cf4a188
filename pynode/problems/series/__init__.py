"""Time series: fit a field to states observed along trajectories of a known ODE."""
