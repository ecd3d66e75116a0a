"""The ready assignments. Each is a file as a course would write it."""
