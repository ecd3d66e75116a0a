"""Counterexamples: random uses of an op at which its gradient is wrong. They are shrunk and written as programs."""
