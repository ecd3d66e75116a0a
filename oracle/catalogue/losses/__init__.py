"""References and cases of `purenet.losses`, module by module."""
