"""The compiled core's scanners and validators beside the pattern and Python's decoder."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hornbook.bpe import native
from hornbook.bpe.counting import PureCounter
from hornbook.bpe.special import SpecialTokens
from native_parts import FORMS, GPT2, LIBRARY, TEXTS, scan


@pytest.mark.parametrize("form", FORMS)
@given(TEXTS)
def test_every_scanner_finds_the_pretokens_of_the_pattern(form: int, text: str) -> None:
    ends = scan(text.encode(), form)
    assert ends is not None
    assert ends.tolist() == GPT2.spans(text.encode()).tolist()


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("piece", ["'ll be", "'s", "x's's", "''s", "   'd", " \n ", "日本 "])
def test_scanners_find_a_pretoken_wherever_a_block_ends(form: int, piece: str) -> None:
    for size in range(140):
        text = ("ab c" * 35)[:size].encode() + piece.encode() + b" abc" * 20
        ends = scan(text, form)
        assert ends is not None
        assert ends.tolist() == GPT2.spans(text).tolist(), text


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("end", ["", " ", "\n ", "'", "'l", "x'r", "é", "日"])
def test_scanners_look_no_further_than_the_end_of_a_text_that_others_follow_in_memory(
    form: int, end: str
) -> None:
    # What follows would be a contraction with what is before, or the rest of a word, a number or white space.
    specials = SpecialTokens(dict.fromkeys(["s>", "l>", "e>", "1>", " >"], 0))
    for size in range(140):
        documents = [("ab c" * 35)[:size] + end + special for special in specials.ids]
        text = "".join(documents).encode()
        ours = native.NativeCounter(LIBRARY, GPT2, specials, form)
        theirs = PureCounter(GPT2, specials)
        ours.add_text(text)
        theirs.add_text(text)
        ours.sort()
        theirs.sort()
        found, wanted = ours.sorted_result([]), theirs.sorted_result([])
        assert found.data.tobytes() == wanted.data.tobytes(), text
        assert found.ends.tolist() == wanted.ends.tolist()
        assert found.counts.tolist() == wanted.counts.tolist()


def test_scanners_agree_on_every_character_between_two_others() -> None:
    for before, after in (("a", " b"), (" ", "!")):
        characters = (chr(code) for code in range(0x110000) if not 0xD800 <= code < 0xE000)
        text = "".join([f"{before}{character}{after}" for character in characters]).encode()
        wanted = GPT2.spans(text)
        for form in FORMS:
            ends = scan(text, form)
            assert ends is not None
            assert np.array_equal(ends, wanted)


def valid_prefix(text: bytes) -> int:
    try:
        text.decode()
    except UnicodeDecodeError as error:
        return error.start
    return len(text)


@pytest.mark.parametrize("form", FORMS)
@given(st.text(max_size=100).map(str.encode), st.binary(max_size=8), st.text(max_size=60).map(str.encode))
def test_utf8_is_valid_where_python_says_so(form: int, before: bytes, middle: bytes, after: bytes) -> None:
    text = before + middle + after
    assert LIBRARY.hb_valid_prefix(text, len(text), form) == valid_prefix(text)


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("num_before", [0, 61, 62])
def test_utf8_is_valid_where_python_says_so_for_every_start_of_a_character(
    form: int, num_before: int
) -> None:
    for lead in range(0x80, 0x100):
        for second in b"A\x7f\x80\x8f\x90\x9f\xa0\xbf\xc0\xc2\xe0\xf0\xff":
            for rest in (b"", b"\x80", b"\xbf\xbf", b"\x80A", b"AA"):
                text = b"a" * num_before + bytes([lead, second]) + rest
                assert LIBRARY.hb_valid_prefix(text, len(text), form) == valid_prefix(text), text
