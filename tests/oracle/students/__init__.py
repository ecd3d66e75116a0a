"""Code in the style of textbooks and courses, written anew: what `oracle.adapters` must take as it is."""
