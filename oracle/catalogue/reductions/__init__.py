"""Reductions: references and cases, one module per module of `purenet.reductions`."""
