"""Runs of many cases: which cases, in which processes, and what is saved on the way."""
