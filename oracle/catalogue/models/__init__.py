"""The networks of `purenet.models`, each with its loss: references, cases, strategies."""
