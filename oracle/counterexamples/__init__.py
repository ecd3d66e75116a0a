"""Uses of an op at which its gradient is wrong: found at random, made smaller, written as programs that run alone."""
