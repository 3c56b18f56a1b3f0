"""Tables in Markdown."""

from collections.abc import Sequence


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    r"""Return a Markdown table.

    Example:
        >>> print(table(["a", "b"], [["1", "2 | 3"]]))
        | a | b |
        |---|---|
        | 1 | 2 \| 3 |
    """
    cells = [head, *([cell.replace("|", "\\|") for cell in row] for row in rows)]
    lines = [f"| {' | '.join(line)} |" for line in cells]
    return "\n".join([lines[0], "|" + "---|" * len(head), *lines[1:]])
