"""References and cases of `purenet.linear`, module by module."""
