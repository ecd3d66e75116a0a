"""What a pair of pure functions owes its caller beside the right numbers."""
