"""Optimizers and transformations: what each must follow step by step, and the small losses on which it does."""
