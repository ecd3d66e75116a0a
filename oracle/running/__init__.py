"""Many cases: which they are, on which processes they run, and what is kept of them on the disk."""
