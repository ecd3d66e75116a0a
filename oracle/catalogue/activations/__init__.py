"""References and cases of `purenet.activations`, module by module."""
