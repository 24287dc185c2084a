"""``crashenv doctor``: why crashes are not reported."""
