"""``crashenv run``: the program's parent, which keeps its reports."""
