"""A report of runs: one HTML file that opens from a disk."""

from .page import check_out, write_report
from .runs import described, find_runs, read_runs

__all__ = ["check_out", "described", "find_runs", "read_runs", "write_report"]
