"""Runs of optimizers, schedules and whole trainings, compared step by step with those of another library."""

from oracle.trajectory.optimizers import run, run_schedule
from oracle.trajectory.spec import Problem, ScheduleSpec, SlotRow, Trajectory, TrajectorySpec
from oracle.trajectory.users_optimizers import OptimizerCheck, verify_optimizer
from oracle.trajectory.users_schedules import ScheduleCheck, verify_schedule

__all__ = [
    "OptimizerCheck",
    "Problem",
    "ScheduleCheck",
    "ScheduleSpec",
    "SlotRow",
    "Trajectory",
    "TrajectorySpec",
    "run",
    "run_schedule",
    "verify_optimizer",
    "verify_schedule",
]
