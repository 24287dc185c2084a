"""``crashenv html``: a page of crashes, in one file."""
