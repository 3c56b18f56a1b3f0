"""Tokens of a text as one HTML page, which needs no network and runs no script."""

import html
from collections.abc import Iterable, Iterator, Mapping

from .paint import Piece
from .spelling import quoted, visible

# The text may come from anyone. Everything is escaped; should that ever fail, the browser is told to run
# nothing.
_POLICY = "default-src 'none'; style-src 'unsafe-inline'; base-uri 'none'; form-action 'none'"

_STYLE = """
:root { color-scheme: light dark; --page: #fdfdfb; --ink: #1a1a1a; --dim: #666; --note: #222;
  --on-note: #fff }
body { margin: 0 auto; max-width: 60rem; padding: 1rem; background: var(--page); color: var(--ink);
  font: 1rem/1.5 system-ui, sans-serif }
h1 { font-size: 1.2rem; overflow-wrap: anywhere }
p { color: var(--dim); overflow-wrap: anywhere }
pre { font: 1rem/1.9 ui-monospace, monospace; white-space: pre-wrap; overflow-wrap: anywhere;
  margin: 0 0 6rem }
b { font-weight: inherit; padding: .15em 0; border-radius: .2em; background: var(--c) }
b:nth-of-type(4n) { --c: #ffd6a5 } b:nth-of-type(4n+1) { --c: #caffbf }
b:nth-of-type(4n+2) { --c: #9bf6ff } b:nth-of-type(4n+3) { --c: #e4c1ff }
b.special { font-weight: bold; outline: 1px solid }
b:hover, b:focus { outline: 2px solid }
b:hover::after, b:focus::after { content: attr(data-note); position: fixed; left: 0; right: 0; bottom: 0;
  z-index: 1; padding: .8rem 1rem; background: var(--note); color: var(--on-note);
  font: 1rem/1.4 ui-monospace, monospace; white-space: pre-wrap; overflow-wrap: anywhere }
@media screen and (prefers-color-scheme: dark) {
  :root { --page: #161616; --ink: #eee; --dim: #aaa; --note: #eee; --on-note: #111 }
  b:nth-of-type(4n) { --c: #6b4a1f } b:nth-of-type(4n+1) { --c: #245a2c }
  b:nth-of-type(4n+2) { --c: #1d5563 } b:nth-of-type(4n+3) { --c: #55307a } }
@media print {
  :root { --page: #fff; --ink: #000; --dim: #333 }
  body { max-width: none; font-size: 10pt } pre { font-size: 9pt; margin: 0 }
  b { print-color-adjust: exact; -webkit-print-color-adjust: exact; color: #000;
    box-shadow: inset 0 0 0 .5px #999 } }
"""


def page(title: str, summary: str, pieces: Iterable[Piece], ranks: Mapping[bytes, int]) -> Iterator[str]:
    """Yield the page, piece by piece.

    Args:
        title: Name of the text.
        summary: A sentence under it.
        pieces: The tokens of the text, in order.
        ranks: For each token that a merge makes, the number of the merge, the first is 0.

    Example:
        >>> *_, token, end = page("x", "", [Piece(300, b"<b>", False)], {b"<b>": 44})
        >>> token
        '<b tabindex="0" data-note="id 300, bytes 3c 62 3e, merge 44">&lt;b&gt;</b>'
    """
    escaped = html.escape(quoted(title.encode(errors="surrogateescape")))
    yield (
        '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        f'<meta http-equiv="Content-Security-Policy" content="{_POLICY}">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>Tokens of {escaped}</title>\n<style>{_STYLE}</style>\n</head>\n<body>\n"
        f"<h1>Tokens of {escaped}</h1>\n<p>{html.escape(summary)}</p>\n"
        "<p>Point at a token or touch it: its id, its bytes, and the number of the merge that made it.</p>\n"
        '<pre dir="ltr">'
    )
    for piece in pieces:
        shown = html.escape(visible(piece.token))
        kind = ' class="special"' if piece.special else ""
        # tabindex: a phone has no pointer to hover with, but what it touches gets the focus.
        yield f'<b{kind} tabindex="0" data-note="{_note(piece, ranks)}">{shown}</b>'
    yield "</pre>\n</body>\n</html>\n"


def _note(piece: Piece, ranks: Mapping[bytes, int]) -> str:
    if piece.special:
        origin = "special token"
    elif piece.token in ranks:
        origin = f"merge {ranks[piece.token]:,}"
    else:
        origin = "no merge made it"
    return f"id {piece.token_id}, bytes {piece.token.hex(' ')}, {origin}"
