"""What the tests of the compiled core share; whoever imports it is skipped where there is none."""

import numpy as np
import pytest
from hypothesis import strategies as st
from numpy.typing import NDArray

from hornbook.bpe import native
from hornbook.bpe.library import load
from hornbook.bpe.patterns import find_pattern
from hornbook.bpe.special import SpecialTokens

_library = load()
if _library is None:
    pytest.skip("pure Python was asked for", allow_module_level=True)
LIBRARY = native.declare(_library)

GPT2 = find_pattern("gpt2")
CL100K = find_pattern("cl100k")
CL100K.spans(b"a")  # compiled now: hypothesis would hold it against the first example
NO_SPECIALS = SpecialTokens({})

# What the scanner treats apart: contractions and what looks like them, white space of one and several bytes,
# numbers that are no digits, letters of one to four bytes.
ASCII_PIECES = [
    "a",
    "Zz",
    "the",
    "'s",
    "'ll",
    "'",
    "''",
    "'r",
    "'re",
    " ",
    "  ",
    "\n",
    "\r\n",
    "\t",
    "1",
    "22",
    "!",
]
PIECES = [
    *ASCII_PIECES,
    "-",
    "\0",
    "é",
    "日本",
    "🙂",
    "\u3000",
    "\xa0",
    "\u2003",
    "\x85",
    "\x1c",
    "Ⅷ",
    "½",
    "ﬀ",
    "\U0001d7d8",
]
PIECES += ["\u0301", "\ufeff"]
TEXTS = (
    st.lists(st.sampled_from(PIECES), max_size=150).map("".join)
    | st.lists(st.sampled_from(ASCII_PIECES), max_size=300).map("".join)
    | st.text(max_size=200)
)
SPECIALS = SpecialTokens({"<e>": 256, "<e><e>": 257, "the": 258, "é": 259})


def scan(text: bytes, number: int) -> NDArray[np.int64] | None:
    ends = np.empty(len(text), np.int64)
    num_pretokens = LIBRARY.hb_scan(text, len(text), ends.ctypes.data, number)
    return None if num_pretokens < 0 else ends[:num_pretokens]


FORMS = [number for number in range(4) if scan(b"a", number) is not None]  # that this machine can execute
