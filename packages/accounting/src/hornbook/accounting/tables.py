"""Ledgers as plain text."""

from collections.abc import Sequence
from dataclasses import astuple, fields
from typing import Any

from .flops import OperationRow
from .parameters import ParameterRow


def ledger_table(rows: Sequence[ParameterRow] | Sequence[OperationRow]) -> str:
    """Align a ledger for the terminal, with its sums as the last line.

    Args:
        rows: A `parameter_ledger` or a `forward_ledger`.

    Returns:
        Lines without a newline at the end.

    Raises:
        ValueError: If there are no rows.

    Example:
        >>> from hornbook.accounting import TINYSTORIES, parameter_ledger
        >>> print(ledger_table(parameter_ledger(TINYSTORIES)))
        component                shape             formula         count
        token embedding          (V, d)            V·d         5,120,000
        attention Q, O           2 (d, d)          2·L·d²      2,097,152
        attention K, V           2 (g·k, d)        2·L·d·g·k   2,097,152
        feed-forward W1, W3, W2  2 (f, d), (d, f)  3·L·d·f     8,257,536
        norms in the blocks      2 (d)             2·L·d           4,096
        final norm               (d)               d                 512
        output head              (V, d)            V·d         5,120,000
        total                                                 22,696,448
    """
    if not rows:
        msg = "a ledger has at least one row, got none"
        raise ValueError(msg)
    cells = [astuple(row) for row in rows]
    names = [field.name for field in fields(rows[0])]
    lines = [names, *([_cell(value) for value in values] for values in cells), _totals(cells)]
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    numeric = [not isinstance(value, str) for value in cells[0]]
    return "\n".join(
        "  ".join(
            cell.rjust(width) if number else cell.ljust(width)
            for cell, width, number in zip(line, widths, numeric, strict=True)
        ).rstrip()
        for line in lines
    )


def _totals(rows: list[tuple[Any, ...]]) -> list[str]:
    """The sum of each column of numbers, the word in the first column, nothing in the others."""
    sums = ["" if isinstance(column[0], str) else _cell(sum(column)) for column in zip(*rows, strict=True)]
    return ["total", *sums[1:]]


def _cell(value: object) -> str:
    if isinstance(value, float):
        return f"{value:.2%}"
    return f"{value:,}" if isinstance(value, int) else str(value)
