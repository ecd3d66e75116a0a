"""The checker, checked: mistakes are planted into every pullback, and those that `verify` does not notice are named."""
