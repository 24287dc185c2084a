"""What a watched process rarely needs; these modules import nothing of the start."""
