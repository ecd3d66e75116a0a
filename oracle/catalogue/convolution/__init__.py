"""Convolutions: references, cases, strategies."""
