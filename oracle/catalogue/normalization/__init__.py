"""Normalization: references, cases, strategies."""
