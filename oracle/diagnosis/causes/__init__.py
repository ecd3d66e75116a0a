"""Causes of a wrong gradient, by kind."""
