"""References and cases of `purenet.attention`, module by module."""
