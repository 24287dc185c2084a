"""Text of crashes -> records: the reading side's core."""
