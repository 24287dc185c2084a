"""The core of the reading side: it turns the text of crashes into records."""
