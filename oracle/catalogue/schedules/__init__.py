"""Schedules: what each must equal at every count."""
