"""Figures of the faults that were survived, printed when all tests are done."""

from collections import Counter
from collections.abc import Callable

import pytest


def pytest_configure(config: pytest.Config) -> None:
    """Make the marker known."""
    config.addinivalue_line("markers", "fault(name): one case of many; those that went well are counted")


@pytest.fixture(autouse=True)
def _case(request: pytest.FixtureRequest, record_property: Callable[[str, object], None]) -> None:
    for marker in request.node.iter_markers("fault"):
        record_property("fault", marker.args[0])


@pytest.fixture
def figure(record_property: Callable[[str, object], None]) -> Callable[[str], None]:
    """Has a line printed at the end."""
    return lambda line: record_property("figure", line)


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Print the figures, and of each kind of cases how many went well."""
    # From the reports, which come back from other processes too.
    reports = (report for kind in terminalreporter.stats.values() for report in kind)
    calls = [report for report in reports if getattr(report, "when", None) == "call"]
    lines = [line for report in calls for name, line in report.user_properties if name == "figure"]
    cases = [(report, line) for report in calls for name, line in report.user_properties if name == "fault"]
    passed = Counter(line for report, line in cases if report.passed)
    lines += [f"{line}: {passed[line]} of {num}" for line, num in Counter(line for _, line in cases).items()]
    if lines:
        terminalreporter.section("faults survived")
        for line in lines:
            terminalreporter.write_line(line)
