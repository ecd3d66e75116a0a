"""Arithmetic and elementary functions: references and cases, one module per module of `purenet.elementwise`."""
