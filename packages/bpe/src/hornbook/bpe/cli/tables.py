"""Tables as plain text and as Markdown."""

from collections.abc import Sequence

from .spelling import one_line


def text_table(rows: Sequence[Sequence[str]], *, left: int = 1) -> str:
    """Align columns, `left` of them to the left, the others, numbers, to the right.

    Example:
        >>> print(text_table([["text", "bytes"], ["stories", "12"], ["web", "3,456"]]))
        text     bytes
        stories     12
        web      3,456
    """
    rows = [[one_line(cell) for cell in row] for row in rows]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return "\n".join(
        "  ".join(
            cell.ljust(width) if column < left else cell.rjust(width)
            for column, (cell, width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in rows
    )


def markdown_table(rows: Sequence[Sequence[str]]) -> str:
    r"""The same, its first row as the head, as a table of GitHub's Markdown.

    Example:
        >>> print(markdown_table([["text", "bytes"], ["a|b", "12"]]))
        | text | bytes |
        | :--- | ---: |
        | a\|b | 12 |
    """
    head, *body = [[one_line(cell).replace("|", "\\|") for cell in row] for row in rows]
    lines = [head, [":---", *["---:"] * (len(head) - 1)], *body]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)
