"""Arguments with very many elements: what their differences cost is counted for each argument, not for each element."""
