"""The contract: the properties of a pair (fwd, bwd) that a caller relies on, besides right numbers."""
