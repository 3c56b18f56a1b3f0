"""A report of runs: one HTML file that opens from a disk."""

from .page import check_out, write_report
from .runs import MAX_RUNS, described, find_runs, read_runs

__all__ = ["MAX_RUNS", "check_out", "described", "find_runs", "read_runs", "write_report"]
