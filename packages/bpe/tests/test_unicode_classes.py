"""The pinned classes of code points: the Python file, the C header and `regex` say the same."""

import re
from importlib import metadata
from pathlib import Path

import pytest
import regex  # type: ignore[import-untyped]

from hornbook.bpe import unicode_classes
from hornbook.bpe.unicode_classes import LETTERS, NUMBERS, SPACES, UNICODE_VERSION

HEADER = Path(__file__).parents[1] / "src" / "hornbook" / "bpe" / "csrc" / "classes.h"
BLOCK, WORD = 128, 32  # code points


def classes_of_the_python_file() -> bytes:
    classes = bytearray(0x110000)
    for number, ranges in enumerate((LETTERS, NUMBERS, SPACES), start=1):
        for first, last in ranges:
            classes[first : last + 1] = bytes([number]) * (last + 1 - first)
    return bytes(classes)


def classes_of_the_header() -> bytes:
    """What `hb_class` returns, worked out from the tables as they are written."""
    text = HEADER.read_text(encoding="utf-8")
    (limit,) = re.findall(r"#define HB_CLASS_LIMIT 0x(\w+)u", text)
    (index,) = re.findall(r"hb_class_index\[\d+\] = \{([^}]*)\}", text)
    (blocks,) = re.findall(r"hb_class_blocks\[\d+\]\[4\] = \{(.*?)\n\};", text, re.DOTALL)
    words = [int(word, 16) for word in re.findall(r"0x(\w+)", blocks)]
    of_word = [bytes(word >> (2 * place) & 3 for place in range(WORD)) for word in words]
    per_block = BLOCK // WORD
    classes = b"".join(
        b"".join(of_word[int(block) * per_block : (int(block) + 1) * per_block])
        for block in re.findall(r"\d+", index)
    )
    assert len(classes) == int(limit, 16)
    return classes.ljust(0x110000, b"\0")


def test_the_header_and_the_python_file_agree_on_every_code_point() -> None:
    assert classes_of_the_header() == classes_of_the_python_file()
    assert f'#define HB_UNICODE_VERSION "{UNICODE_VERSION}"' in HEADER.read_text(encoding="utf-8")


def test_the_ranges_are_in_order_and_apart() -> None:
    for ranges in (LETTERS, NUMBERS, SPACES):
        borders = [border for first, last in ranges for border in (first, last + 1)]
        assert borders == sorted(set(borders))


def test_white_space_is_that_of_regex_and_not_that_of_str() -> None:
    spaces = {code_point for first, last in SPACES for code_point in range(first, last + 1)}
    assert {0x09, 0x0A, 0x0B, 0x0C, 0x0D, 0x20, 0x85, 0xA0, 0x1680, 0x3000} <= spaces
    assert {code_point for code_point in range(0x110000) if chr(code_point).isspace()} - spaces == {
        0x1C,
        0x1D,
        0x1E,
        0x1F,
    }


def test_they_are_those_of_the_installed_regex_if_it_knows_the_same_unicode() -> None:
    description = metadata.distribution("regex").read_text("METADATA") or ""
    if f"This module supports Unicode {UNICODE_VERSION}." not in description:
        pytest.skip(f"the installed regex is of another version of Unicode than {UNICODE_VERSION}")
    classes = bytearray(0x110000)
    for start, stop in ((0, 0xD800), (0xE000, 0x110000)):
        text = "".join(map(chr, range(start, stop)))
        for number, pattern in enumerate((r"\p{L}", r"\p{N}", r"\s"), start=1):
            for match in regex.finditer(pattern, text):
                classes[start + match.start()] = number
    assert bytes(classes) == classes_of_the_python_file()


def test_both_files_say_what_makes_them() -> None:
    command = "uv run --package hornbook-bpe packages/bpe/scripts/make_classes.py"
    assert command in (unicode_classes.__doc__ or "")
    assert command in HEADER.read_text(encoding="utf-8")
