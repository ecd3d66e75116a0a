"""Reports: the same rows as tables in a terminal, as markdown, as JSON and as an HTML page."""
