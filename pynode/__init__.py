"""pynode."""
