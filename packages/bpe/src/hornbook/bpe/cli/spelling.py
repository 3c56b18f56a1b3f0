"""Tokens as a person can see them: spaces, line ends, halves of characters, nothing that moves the cursor."""

_VISIBLE = {" ": "·", "\t": "→", "\n": "⏎\n", "\r": "␍"}


def visible(token: bytes) -> str:
    r"""Spell every byte of a token so that it shows: white space as a sign, what is no character as bytes.

    After the sign of a line end the line does end.

    Example:
        >>> visible(b" the\n"), visible("né".encode()[:2]), visible(b"\x1b[2J")
        ('·the⏎\n', 'n\\xc3', '\\x1b[2J')
    """
    return "".join([_VISIBLE.get(character) or printable(character) for character in _characters(token)])


def quoted(token: bytes) -> str:
    r"""A token in a line of text: in quotes, white space as it is.

    Example:
        >>> print(quoted(b' "hi"\n'), quoted("né".encode()[:2]))
        " \"hi\"\n" "n\xc3"
    """
    escaped = {'"': '\\"', "\\": "\\\\", "\n": "\\n", "\t": "\\t", "\r": "\\r"}
    body = "".join([escaped.get(character) or printable(character) for character in _characters(token)])
    return f'"{body}"'


def one_line(text: str) -> str:
    r"""Text of others, the name of a file for instance, so that it stays on its line and moves no cursor.

    Example:
        >>> one_line("a\x1b]0;owned\x07\nb")
        'a\\x1b]0;owned\\x07\\x0ab'
    """
    return "".join(map(printable, text))


def _characters(token: bytes) -> str:
    return token.decode("utf-8", "surrogateescape")


def printable(character: str) -> str:
    r"""Spell control characters, direction marks and the like as escapes, a byte that is no text as \xNN."""
    code = ord(character)
    if 0xDC80 <= code <= 0xDCFF:  # what surrogateescape makes of a byte
        return f"\\x{code - 0xDC00:02x}"
    if character.isprintable():
        return character
    return f"\\x{code:02x}" if code < 0x80 else f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"
