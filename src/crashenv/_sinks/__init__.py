"""Sending crashes: what is sent, to which receivers, and what has arrived."""
