r"""Write the class of every code point, letter, number, white space or other, as Python and as C.

    uv run --package hornbook-bpe packages/bpe/scripts/make_classes.py

What `\p{L}`, `\p{N}` and `\s` match changes with each version of Unicode, and so would the pretokens of a
text with the version of `regex` that happens to be installed. So the classes are pinned: taken from
`regex` once, here, and kept in two files that this script writes.
"""

import re
from collections.abc import Iterator, Sequence
from importlib.metadata import distribution, version
from pathlib import Path

import regex  # type: ignore[import-untyped]

PACKAGE = Path(__file__).parents[1] / "src" / "hornbook" / "bpe"
COMMAND = "uv run --package hornbook-bpe packages/bpe/scripts/make_classes.py"
CLASSES = {"LETTERS": (1, r"\p{L}"), "NUMBERS": (2, r"\p{N}"), "SPACES": (3, r"\s")}
LINE_LENGTH = 110
BLOCK = 128  # code points in a block of the C table: 32 bytes of 2 bits each, half a cache line
WORD = 32  # code points in a word of 64 bits

PYTHON = '''\
r"""Letters, numbers and white space of Unicode {unicode}: `\\p{{L}}`, `\\p{{N}}` and `\\s` of regex {regex}.

Each is a tuple of inclusive ranges of code points, in order. White space is without U+001C to U+001F,
which `str.isspace` and `re` count. `csrc/classes.h` says the same in C. Made by
`{command}`.
"""

UNICODE_VERSION = "{unicode}"

# fmt: off
{ranges}
# fmt: on
'''

HEADER = """\
/* Class of every code point in Unicode {unicode}: \\p{{L}}, \\p{{N}} and \\s of regex {regex}.
 * unicode_classes.py says the same in Python. Made by
 *     {command}
 */
#ifndef HORNBOOK_CLASSES_H
#define HORNBOOK_CLASSES_H

#include <stdint.h>

#define HB_UNICODE_VERSION "{unicode}"

enum {{ HB_OTHER = 0, HB_LETTER = 1, HB_NUMBER = 2, HB_SPACE = 3 }};

/* Code points from here on, and surrogates, are HB_OTHER. */
#define HB_CLASS_LIMIT 0x{limit:X}u

/* Blocks of {block} code points that are alike are kept once: all of it is {num_bytes} bytes. */
static const uint8_t hb_class_index[{num_indices}] = {{
{index}
}};

/* 2 bits a code point, the first in the lowest bits. */
static const uint64_t hb_class_blocks[{num_blocks}][{words}] = {{
{blocks}
}};

static inline unsigned hb_class(uint32_t code_point) {{
    if (code_point >= HB_CLASS_LIMIT) return HB_OTHER;
    const uint64_t *block = hb_class_blocks[hb_class_index[code_point / {block}]];
    return (unsigned)(block[code_point % {block} / {word}] >> (2 * (code_point % {word}))) & 3;
}}

#endif
"""


def unicode_version_of_regex() -> str:
    """The version of Unicode that the installed `regex` says it supports.

    Raises:
        RuntimeError: If its description has no such sentence.
    """
    text = distribution("regex").read_text("METADATA") or ""
    match = re.search(r"^This module supports Unicode (\d+\.\d+\.\d+)\.", text, re.MULTILINE)
    if match is None:
        msg = "the description of the installed regex names no Unicode version: look into its release notes"
        raise RuntimeError(msg)
    return match[1]


def ranges_of(pattern: str) -> list[tuple[int, int]]:
    """Inclusive ranges of the code points that a pattern of one character matches, surrogates left out."""
    found = []  # on either side of the surrogates, which no text can hold
    for start, stop in ((0, 0xD800), (0xE000, 0x110000)):
        text = "".join(map(chr, range(start, stop)))
        found += [(start + m.start(), start + m.end() - 1) for m in regex.finditer(f"(?:{pattern})+", text)]
    return found


def wrapped(items: Sequence[str], indent: str = "    ") -> str:
    """The items, each with a comma, in lines as full as they can be."""
    lines = [indent]
    for item in items:
        piece = item + ","
        if len(lines[-1]) + len(piece) > LINE_LENGTH:
            lines[-1] = lines[-1].rstrip()
            lines.append(indent)
        lines[-1] += piece + " "
    return "\n".join(lines).rstrip()


def python_text(ranges: dict[str, list[tuple[int, int]]]) -> str:
    """Source of `unicode_classes.py`."""
    parts = []
    for name, pairs in ranges.items():
        body = wrapped([f"(0x{first:X}, 0x{last:X})" for first, last in pairs])
        parts.append(f"{name}: tuple[tuple[int, int], ...] = (\n{body}\n)")
    return PYTHON.format(
        unicode=unicode_version_of_regex(),
        regex=version("regex"),
        command=COMMAND,
        ranges="\n".join(parts),
    )


def blocks_of(ranges: dict[str, list[tuple[int, int]]]) -> Iterator[tuple[int, ...]]:
    """The words of each block, from code point 0 to the last block that has a class."""
    limit = max(pairs[-1][1] for pairs in ranges.values()) // BLOCK * BLOCK + BLOCK
    classes = bytearray(limit)
    for name, pairs in ranges.items():
        for first, last in pairs:
            classes[first : last + 1] = bytes([CLASSES[name][0]]) * (last + 1 - first)
    words = [
        sum(value << (2 * place) for place, value in enumerate(classes[start : start + WORD]))
        for start in range(0, limit, WORD)
    ]
    for start in range(0, len(words), BLOCK // WORD):
        yield tuple(words[start : start + BLOCK // WORD])


def c_text(ranges: dict[str, list[tuple[int, int]]]) -> str:
    """Source of `classes.h`."""
    places: dict[tuple[int, ...], int] = {}
    index = [places.setdefault(block, len(places)) for block in blocks_of(ranges)]
    if len(places) > 256:
        msg = f"{len(places)} different blocks do not fit an index of one byte: make BLOCK larger"
        raise RuntimeError(msg)
    rows = ["    {" + ", ".join(f"0x{word:016X}" for word in block) + "}," for block in places]
    return HEADER.format(
        unicode=unicode_version_of_regex(),
        regex=version("regex"),
        command=COMMAND,
        limit=len(index) * BLOCK,
        block=BLOCK,
        word=WORD,
        words=BLOCK // WORD,
        num_bytes=f"{len(index) + len(places) * BLOCK // 4:,}",
        num_indices=len(index),
        num_blocks=len(places),
        index=wrapped([str(place) for place in index]),
        blocks="\n".join(rows),
    )


def main() -> None:
    """Write both files."""
    ranges = {name: ranges_of(pattern) for name, (_, pattern) in CLASSES.items()}
    (PACKAGE / "unicode_classes.py").write_text(python_text(ranges), encoding="utf-8", newline="\n")
    (PACKAGE / "csrc" / "classes.h").write_text(c_text(ranges), encoding="utf-8", newline="\n")


if __name__ == "__main__":
    main()
