"""The first witness: central differences that know their own uncertainty."""
