"""Runs of optimizers, schedules and whole trainings, compared step by step with those of another library."""

from oracle.trajectory.optimizers import run, run_schedule
from oracle.trajectory.spec import Problem, ScheduleSpec, SlotRow, Trajectory, TrajectorySpec

__all__ = ["Problem", "ScheduleSpec", "SlotRow", "Trajectory", "TrajectorySpec", "run", "run_schedule"]
