"""What needs torch is looked at only where it is installed: accounting's own environment has none."""

from importlib.util import find_spec

collect_ignore = (
    []
    if find_spec("torch")
    else ["src/hornbook/accounting/dry_run.py", "src/hornbook/accounting/compiled_dry_run.py"]
)
