"""What a sweep has shown, in its own words: the table and the verdict that it wrote down."""

from collections.abc import Sequence
from pathlib import Path

from .outcomes import whole_sweeps

MAX_SUMMARY_BYTES = 200_000


def summaries_of(directories: Sequence[Path]) -> list[str]:
    """Return the summary.md of every sweep that is shown as a whole, in Markdown.

    Args:
        directories: Of the runs that are shown.
    """
    told = []
    for sweep in whole_sweeps(directories):
        if (summary := sweep / "summary.md").is_file():
            with summary.open("rb") as file:
                told.append(file.read(MAX_SUMMARY_BYTES).decode("utf-8", errors="replace"))
    return told


def as_html(summary: str) -> str:
    """Return Markdown as HTML in which nothing is left of what a stranger could have put there.

    Example:
        >>> print(as_html("Best: **0.01** <script>").strip())
        <p>Best: <strong>0.01</strong> &lt;script&gt;</p>
    """
    from markdown_it import MarkdownIt  # here: of single runs there is nothing to read

    reader = MarkdownIt("commonmark", {"html": False}).enable("table").disable(["image", "link", "autolink"])
    html: str = reader.render(summary)
    return html.replace("<table>", '<div class="scroll" tabindex="0"><table>').replace(
        "</table>", "</table></div>"
    )
