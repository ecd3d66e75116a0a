"""The first witness: central differences, each with an error estimate for truncation and rounding noise."""
