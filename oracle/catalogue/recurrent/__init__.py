"""Recurrent layers: references, cases and strategies, one module per module of the layers."""
