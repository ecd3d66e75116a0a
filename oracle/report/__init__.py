"""Reports: the same rows as a table in a terminal, as markdown and as JSON."""
