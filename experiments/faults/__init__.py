"""What a run survives, shown by doing it."""
