"""The parts of the command line that need no tokenizer: what is shown, and that it can do no harm."""

import io
import re
from html.parser import HTMLParser
from itertools import chain, pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hornbook.bpe.cli.decode import numbers_in
from hornbook.bpe.cli.encode import id_lines
from hornbook.bpe.cli.meter import Meter
from hornbook.bpe.cli.page import page
from hornbook.bpe.cli.paint import Piece, paint
from hornbook.bpe.cli.spelling import quoted, visible
from hornbook.bpe.cli.terminal import color_depth

# Bytes of any kind, and text of any kind, which random bytes almost never are.
TOKENS = st.one_of(st.binary(min_size=1), st.text(min_size=1).map(str.encode))
PIECES = st.lists(st.builds(Piece, st.integers(0, 1 << 20), TOKENS, st.booleans()))
ESCAPE = re.compile(r"\\(?:x([0-9a-f]{2})|u([0-9a-f]{4})|U([0-9a-f]{8})|(.))", re.DOTALL)


def read_back(spelled: str) -> bytes:
    """What `quoted` spelled."""
    result, begin = b"", 1
    for match in ESCAPE.finditer(spelled, 1, len(spelled) - 1):
        byte, short, long, plain = match.groups()
        result += spelled[begin : match.start()].encode()
        if byte:
            result += bytes.fromhex(byte)
        elif plain:
            result += {"n": b"\n", "t": b"\t", "r": b"\r"}.get(plain, plain.encode())
        else:
            result += chr(int(short or long, 16)).encode()
        begin = match.end()
    return result + spelled[begin:-1].encode()


@given(TOKENS)
def test_a_quoted_token_can_be_read_back(token: bytes) -> None:
    assert read_back(quoted(token)) == token


@given(TOKENS)
def test_what_is_shown_moves_no_cursor_and_ends_lines_only_after_their_sign(token: bytes) -> None:
    shown = visible(token)
    assert shown.replace("⏎\n", "").isprintable()
    assert shown.count("\n") == token.count(b"\n")


def test_direction_marks_and_other_spaces_show_as_what_they_are() -> None:
    assert visible("a\u202eb\u00a0c".encode()) == r"a\u202eb\u00a0c"
    assert visible("é".encode()[:1] + b"\x00") == r"\xc3\x00"


@given(PIECES)
def test_without_colors_a_bar_follows_each_token(pieces: list[Piece]) -> None:
    for piece, shown in zip(pieces, paint(pieces, depth=0, ids=False), strict=True):
        assert shown == (f"{visible(piece.token)}|").replace("\n|", "|\n")


@given(PIECES, st.sampled_from([8, 24]))
def test_colors_are_off_at_each_line_end_and_the_text_is_the_same(pieces: list[Piece], depth: int) -> None:
    painted = "".join(paint(pieces, depth=depth, ids=False))
    assert re.sub(r"\x1b\[[0-9;]*m", "", painted) == "".join(visible(p.token) for p in pieces)
    for line in painted.split("\n")[:-1]:
        assert line.endswith("\x1b[0m")


def test_neighbours_differ_in_color_and_ids_follow_their_tokens() -> None:
    pieces = [Piece(token_id, b"x", False) for token_id in range(20)]
    for depth in (8, 24):
        colors = re.findall(r"\x1b\[38;[0-9;]*m", "".join(paint(pieces, depth=depth, ids=False)))
        assert len(colors) == 20
        assert all(one != two for one, two in pairwise(colors))
    assert "".join(paint(pieces[5:7], depth=0, ids=True)) == "x:5|x:6|"


class Reader(HTMLParser):
    """What a browser would make of a page."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.notes: list[str | None] = []
        self.tokens: list[str] = []
        self.heading = ""
        self._inside = ""
        self.feed(text)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self._inside = tag
        if tag == "b":
            self.notes.append(dict(attrs)["data-note"])
            self.tokens.append("")

    def handle_data(self, data: str) -> None:
        if self._inside == "b":
            self.tokens[-1] += data
        elif self._inside == "h1":
            self.heading += data

    def handle_endtag(self, tag: str) -> None:
        self._inside = ""


@given(PIECES, st.text())
def test_a_page_shows_hostile_tokens_and_names_as_text(pieces: list[Piece], title: str) -> None:
    hostile = [
        Piece(1, b"<script>alert(1)</script>", False),
        Piece(2, b'" onmouseover="alert(1)', False),
        Piece(3, b"</pre></b><img src=x onerror=alert(1)>&amp;<!--", True),
    ]
    text = "".join(page(title + "<img src=x>", "<i>", hostile + pieces, {}))
    reader = Reader(text)
    assert set(reader.tags) == {"html", "head", "meta", "title", "style", "body", "h1", "p", "pre", "b"}
    assert reader.tokens == [visible(piece.token) for piece in hostile + pieces]
    assert reader.heading.endswith('<img src=x>"')
    assert "http" not in text.replace("http-equiv", "")


def test_a_note_tells_id_bytes_and_merge() -> None:
    pieces = [Piece(300, b"he", False), Piece(5, b"h", False), Piece(0, b"<e>", True)]
    assert Reader("".join(page("x", "", pieces, {b"he": 1044}))).notes == [
        "id 300, bytes 68 65, merge 1,044",
        "id 5, bytes 68, no merge made it",
        "id 0, bytes 3c 65 3e, special token",
    ]


@given(
    st.lists(st.tuples(st.lists(st.integers(0, 9)), st.booleans())),
    st.lists(st.integers(0, 40)).map(sorted),
)
def test_printed_ids_are_read_back_however_they_are_cut(
    blocks: list[tuple[list[int], bool]], cuts: list[int]
) -> None:
    text = "".join(id_lines(blocks, end=0)).encode()
    places = [0, *(cut for cut in cuts if cut < len(text)), len(text)]
    chunks = [text[begin:end] for begin, end in pairwise(places)]
    assert [*chain.from_iterable(numbers_in(chunks))] == [*chain.from_iterable(ids for ids, _ in blocks)]
    assert b"\n\n" not in text
    assert b"0 " not in text
    assert text == b"" or text.endswith(b"\n")


@pytest.mark.parametrize("text", [b"12 x", b"-1", b"+1", b"1_0", b"1.5", "\u0663".encode(), b"9" * 5_000])
def test_what_is_no_number_is_refused_with_its_spelling(text: bytes) -> None:
    with pytest.raises(ValueError, match="token ids are numbers with white space between, got '"):
        list(numbers_in([text]))


@pytest.mark.parametrize(
    ("when", "terminal", "environment", "depth"),
    [
        ("auto", True, {"TERM": "xterm"}, 8),
        ("auto", True, {"TERM": "xterm", "COLORTERM": "24bit"}, 24),
        ("auto", True, {"TERM": "dumb"}, 0),
        ("auto", True, {"NO_COLOR": "1"}, 0),
        ("auto", True, {"NO_COLOR": ""}, 8),  # no-color.org: an empty one does not count
        ("auto", False, {"COLORTERM": "truecolor"}, 0),
        ("always", False, {"NO_COLOR": "1"}, 8),
        ("never", True, {"COLORTERM": "truecolor"}, 0),
    ],
)
def test_colors_follow_the_flag_then_the_terminal(
    when: str, terminal: bool, environment: dict[str, str], depth: int
) -> None:
    assert color_depth(when, terminal=terminal, environment=environment) == depth


class Terminal(io.StringIO):
    """A stream that a person watches."""

    def isatty(self) -> bool:
        return True


class Clock:
    """Time passes when it is told to."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


def test_the_line_in_a_terminal_renews_itself_and_goes_away() -> None:
    stream, clock = Terminal(), Clock()
    with Meter(stream=stream, clock=clock) as meter:
        for done in (1_000_000, 4_000_000):
            clock.now += 2
            meter("encode", done, 8_000_000)
        clock.now += 0.01
        meter("encode", 8_000_000, 8_000_000)  # too soon after the last
    first, second, wiped, rest = stream.getvalue().split("\r")[1:]
    assert first == "encoding: 12%, 1.0 MB of 8.0 MB, 0.50 MB/s, 14.00 s left"
    assert second.rstrip() == "encoding: 50%, 4.0 MB of 8.0 MB, 1.00 MB/s, 4.00 s left"
    assert len(second) >= len(first)
    assert wiped == " " * len(second.rstrip())
    assert rest == ""


def test_a_log_gets_a_line_every_ten_seconds_and_a_short_job_none() -> None:
    stream, clock = io.StringIO(), Clock()
    with Meter(stream=stream, clock=clock) as meter:
        for second in range(1, 26):
            clock.now += 1
            meter("merge", second, None)
    assert stream.getvalue() == "learning merges: 10\nlearning merges: 20\n"


def test_a_stage_lasts_from_the_end_of_the_one_before() -> None:
    clock = Clock()
    meter = Meter(quiet=True, clock=clock)
    for stage, done in (("count", 5), ("count", 9), ("merge", 1), ("merge", 2)):
        clock.now += 3
        meter(stage, done, None)
    assert meter.seconds == {"count": 6.0, "merge": 6.0}
    assert meter.done == {"count": 9, "merge": 2}
