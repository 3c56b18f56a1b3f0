"""A report of runs: one HTML file that opens from a disk."""

from .page import write_report
from .runs import find_runs, read_runs

__all__ = ["find_runs", "read_runs", "write_report"]
