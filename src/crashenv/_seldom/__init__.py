"""What a watched process needs now and then; it imports nothing of the start."""
