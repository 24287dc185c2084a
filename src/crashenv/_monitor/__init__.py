"""``crashenv run``: the parent of the program."""
