"""Adaptive solves on a GPU: every attempt of a step is one recording, and the step size control is on the device."""
