"""Where crashes go: what is sent, to whom, and what is known to have arrived."""
