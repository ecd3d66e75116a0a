"""Shapes, places and margins: references and cases, one module per module of `purenet.shaping`."""
