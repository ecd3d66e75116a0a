"""Arguments with very many elements: their differences cost some evaluations for each argument, not for each element."""
