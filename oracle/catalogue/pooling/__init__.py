"""Pools: references, cases, strategies."""
