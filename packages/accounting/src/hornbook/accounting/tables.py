"""Ledgers as text for the terminal, Markdown, LaTeX, CSV and JSON."""

from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType
from typing import Any, Literal, TypeAlias

from .units import Share

TableFormat: TypeAlias = Literal["text", "markdown", "latex", "csv", "json"]
"""How a table is written; csv and json have the numbers as they are, the others as people read them."""

Row: TypeAlias = Sequence[Any]


def ledger_table(rows: Sequence[Any], format: TableFormat = "text", *, total: bool = True) -> str:  # noqa: A002
    """Write the rows of a ledger, with the sums of its numbers as the last line.

    Args:
        rows: Any ledger of this package.
        format: "text", "markdown", "latex" (booktabs), "csv" or "json".
        total: Whether the sums are written; csv and json never have them.

    Returns:
        Lines without a newline at the end.

    Raises:
        ValueError: If there are no rows or the format is unknown.

    Example:
        >>> from hornbook.accounting import TINYSTORIES, parameter_ledger
        >>> print(ledger_table(parameter_ledger(TINYSTORIES)))
        component                shape             formula    num_parameters
        token embedding          (V, d)            V·d             5,120,000
        attention Q, O           2 (d, d)          2·L·d²          2,097,152
        attention K, V           2 (g·k, d)        2·L·d·g·k       2,097,152
        feed-forward W1, W3, W2  2 (f, d), (d, f)  3·L·d·f         8,257,536
        norms in the blocks      2 (d)             2·L·d               4,096
        final norm               (d)               d                     512
        output head              (V, d)            V·d             5,120,000
        total                                                     22,696,448
    """
    if not rows:
        msg = "a ledger has at least one row, got none"
        raise ValueError(msg)
    return table(rows[0]._fields, rows, format, total=_totals(rows) if total else None)


def table(
    names: Sequence[str],
    rows: Sequence[Row],
    format: TableFormat = "text",  # noqa: A002
    *,
    total: Row | None = None,
) -> str:
    """Write rows of values under their names.

    Args:
        names: One for each column.
        rows: Strings, ints, floats (a `Share` is written as per cent) or None.
        format: As for `ledger_table`.
        total: A last row; not in csv and json.

    Raises:
        ValueError: If the format is unknown.
    """
    if format not in _WRITERS:
        msg = f"format must be one of {', '.join(map(repr, _WRITERS))}, got {format!r}"
        raise ValueError(msg)
    return _WRITERS[format](names, rows, total)


def text_table(names: Sequence[str], rows: Sequence[Row], total: Row | None = None) -> str:
    """Align columns for the terminal: numbers to the right."""
    lines = [list(names), *([_cell(value) for value in row] for row in _with(rows, total))]
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    numeric = _numeric(rows)
    return "\n".join(
        "  ".join(
            cell.rjust(width) if number else cell.ljust(width)
            for cell, width, number in zip(line, widths, numeric, strict=True)
        ).rstrip()
        for line in lines
    )


def _markdown(names: Sequence[str], rows: Sequence[Row], total: Row | None) -> str:
    rule = ["--:" if number else "---" for number in _numeric(rows)]
    lines = [list(names), rule, *([_cell(value) for value in row] for row in _with(rows, total))]
    return "\n".join("| " + " | ".join(cell.replace("|", "\\|") for cell in line) + " |" for line in lines)


def _latex(names: Sequence[str], rows: Sequence[Row], total: Row | None) -> str:
    columns = "".join("r" if number else "l" for number in _numeric(rows))
    body = [_latex_line(row) for row in rows]
    if total is not None:
        body += ["\\midrule", _latex_line(total)]
    head = [f"\\begin{{tabular}}{{{columns}}}", "\\toprule", _latex_line(names), "\\midrule"]
    return "\n".join([*head, *body, "\\bottomrule", "\\end{tabular}"])


def _latex_line(row: Row) -> str:
    return " & ".join(_latex_cell(_cell(value)) for value in row) + " \\\\"


# What LaTeX reads as a sign of its own, and our letters that need mathematics.
_LATEX = {
    **{sign: f"\\{sign}" for sign in "&%$#_{}"},
    "\\": "\\textbackslash{}",
    "~": "\\textasciitilde{}",
    "^": "\\textasciicircum{}",
    "·": "$\\cdot$",
    "²": "$^2$",
    "³": "$^3$",
    "ᵀ": "$^{\\mathsf T}$",
    "√": "$\\surd$",
}


def _latex_cell(text: str) -> str:
    return "".join(_LATEX.get(sign, sign) for sign in text)


def _csv(names: Sequence[str], rows: Sequence[Row], _: Row | None) -> str:
    import csv  # here and below: most who import the package write no file
    import io

    file = io.StringIO()
    writer = csv.writer(file, lineterminator="\n")
    writer.writerow(names)
    writer.writerows(rows)
    return file.getvalue().removesuffix("\n")


def _json(names: Sequence[str], rows: Sequence[Row], _: Row | None) -> str:
    import json

    return json.dumps([dict(zip(names, row, strict=True)) for row in rows], indent=2, ensure_ascii=False)


_WRITERS: Mapping[str, Callable[[Sequence[str], Sequence[Row], Row | None], str]] = MappingProxyType(
    {"text": text_table, "markdown": _markdown, "latex": _latex, "csv": _csv, "json": _json}
)


def _with(rows: Sequence[Row], total: Row | None) -> Sequence[Row]:
    return rows if total is None else [*rows, total]


def _numeric(rows: Sequence[Row]) -> list[bool]:
    return [all(not isinstance(value, str) for value in column) for column in zip(*rows, strict=True)]


def _totals(rows: Sequence[Row]) -> list[Any]:
    """The sum of each column of numbers, the word in the first column, nothing in the others."""
    columns = [*zip(*rows, strict=True)][1:]
    return ["total", *("" if isinstance(one[0], str) else type(one[0])(sum(one)) for one in columns)]


def _cell(value: object) -> str:
    if value is None:
        return ""
    if isinstance(value, Share):
        return f"{value:.2%}"
    if isinstance(value, float):
        return f"{value:,.0f}" if abs(value) >= 1e4 else f"{value:.4g}"
    return f"{value:,}" if isinstance(value, int) and not isinstance(value, bool) else str(value)
