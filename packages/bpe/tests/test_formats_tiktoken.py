"""Ranks and merges: the same ids, or a refusal."""

from base64 import b64encode
from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from hornbook.bpe import Tokenizer, train_bpe
from hornbook.bpe.formats import Parts, tiktoken
from hornbook.bpe.formats.tiktoken import reachable_merges, split

Ranks = dict[bytes, int]
Merges = list[tuple[bytes, bytes]]


def by_ranks(text: bytes, ranks: Ranks) -> list[bytes]:
    """tiktoken's rule, word for word: join the two neighbours whose product has the lowest rank."""
    parts = [text[index : index + 1] for index in range(len(text))]
    while True:
        found = [
            (ranks[left + right], index)
            for index, (left, right) in enumerate(pairwise(parts))
            if left + right in ranks
        ]
        if not found:
            return parts
        _, index = min(found)
        parts[index : index + 2] = [parts[index] + parts[index + 1]]


def by_merges(text: bytes, merges: Merges) -> list[bytes]:
    """BPE's rule, word for word: join the two neighbours whose merge is the earliest."""
    parts = [text[index : index + 1] for index in range(len(text))]
    order = {merge: rank for rank, merge in enumerate(merges)}
    while True:
        found = [(order[pair], index) for index, pair in enumerate(pairwise(parts)) if pair in order]
        if not found:
            return parts
        _, index = min(found)
        parts[index : index + 2] = [parts[index] + parts[index + 1]]


@st.composite
def rank_tables(draw: st.DrawFn) -> Ranks:
    """Two or three letters, products of any two tokens made before, then perhaps ranks exchanged."""
    tokens = [b"a", b"b", b"c"][: draw(st.integers(2, 3))]
    for _ in range(draw(st.integers(0, 14))):
        product = draw(st.sampled_from(tokens)) + draw(st.sampled_from(tokens))
        if product not in tokens and len(product) <= 8:
            tokens.append(product)
    if draw(st.booleans()):
        tokens = draw(st.permutations(tokens))
    return {token: rank for rank, token in enumerate(tokens)}


@given(rank_tables())
@settings(max_examples=300, deadline=None)
def test_ranks_are_refused_exactly_if_a_token_does_not_become_itself(ranks: Ranks) -> None:
    reachable = all(by_ranks(token, ranks) == [token] for token in ranks)
    try:
        merges = reachable_merges(ranks)
    except ValueError:
        assert not reachable
        return
    assert reachable
    assert [left + right for left, right in merges] == [
        token for token in sorted(ranks, key=lambda token: ranks[token]) if len(token) > 1
    ]


@given(rank_tables(), st.data())
@settings(max_examples=300, deadline=None)
def test_the_merges_give_tiktokens_ids_with_any_further_ways_to_make_a_token(
    ranks: Ranks, data: st.DataObject
) -> None:
    assume(all(by_ranks(token, ranks) == [token] for token in ranks))
    merges = reachable_merges(ranks)
    others = [
        (token[:cut], token[cut:])
        for token in ranks
        for cut in range(1, len(token))
        if token[:cut] in ranks and token[cut:] in ranks and (token[:cut], token[cut:]) not in merges
    ]
    # Wherever they stand among the merges.
    more = list(merges)
    for other in data.draw(st.permutations(others)):
        more.insert(data.draw(st.integers(0, len(more))), other)
    letters = b"".join(token for token in ranks if len(token) == 1).decode()
    for text in data.draw(st.lists(st.text(letters, max_size=30), min_size=5, max_size=5)):
        expected = by_ranks(text.encode(), ranks)
        assert by_merges(text.encode(), merges) == expected
        assert by_merges(text.encode(), more) == expected


@given(rank_tables(), st.text("abc", max_size=40))
@settings(deadline=None)
def test_splitting_with_a_heap_is_the_rule(ranks: Ranks, text: str) -> None:
    assert split(text.encode(), lambda left, right: ranks.get(left + right)) == by_ranks(text.encode(), ranks)


def test_a_token_of_a_hundred_kilobytes_takes_no_time() -> None:
    powers = {b"a" * (1 << power): power for power in range(18)}
    assert reachable_merges(powers)[-1] == (b"a" * (1 << 16), b"a" * (1 << 16))


def test_a_trained_tokenizer_survives_with_special_tokens_anywhere(tmp_path: Path) -> None:
    text = tmp_path / "text.txt"
    text.write_text("the cat sat on the mat, and the bat that ate the rat sat too. aaaa aaaaa " * 9, "utf-8")
    vocab, merges = train_bpe(text, 280, ["<a>", "<b>"])  # ids 0 and 1
    tokenizer = Tokenizer(vocab, merges, ["<a>", "<b>", "<end>"])
    tokenizer.save_tiktoken(tmp_path / "t.tiktoken")
    assert (tmp_path / "t.tiktoken").read_bytes().startswith(b"AA== 2\nAQ== 3\n")
    for specials in (["<a>", "<b>", "<end>"], {"<end>": 280, "<b>": 1, "<a>": 0}):
        loaded = Tokenizer.from_tiktoken(tmp_path / "t.tiktoken", specials, pattern="gpt2")
        assert loaded.fingerprint == tokenizer.fingerprint
    with pytest.raises(
        ValueError, match=r"t\.tiktoken: the ids of 278 tokens .* missing: 0, 1; give special"
    ):
        Tokenizer.from_tiktoken(tmp_path / "t.tiktoken", pattern="gpt2")


def write(path: Path, tokens: list[str], merges: list[str], specials: tuple[str, ...] = ()) -> Path:
    vocab = dict(enumerate(token.encode() for token in tokens))
    pairs = [(left.encode(), right.encode()) for left, right in (merge.split() for merge in merges)]
    ids = {token.decode(): token_id for token_id, token in vocab.items() if token.decode() in specials}
    file = path / "t.tiktoken"
    tiktoken.write(file, Parts(vocab, pairs, ids))
    return file


def test_what_tiktoken_would_encode_otherwise_is_not_written(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"merge 0, b'b' .* b'c', makes id 4, a later one a lower id"):
        write(tmp_path, ["a", "b", "c", "ab", "bc"], ["b c", "a b"])
    with pytest.raises(ValueError, match="would make token 2, b'ab', of b'a' and b'b', and no merge does"):
        write(tmp_path, ["a", "b", "ab"], [])
    with pytest.raises(ValueError, match=r"would make token 5, b'abc', of b'ab' and b'c', and no merge does"):
        write(tmp_path, ["a", "b", "c", "ab", "bc", "abc"], ["a b", "b c", "a bc"])
    with pytest.raises(
        ValueError, match=r"token 4, b'abc', is not made of two tokens: .* ends in b'a' b'b' b'c'"
    ):
        write(tmp_path, ["a", "b", "c", "<e>", "abc"], [], ("<e>",))
    assert list(tmp_path.iterdir()) == []


def test_a_special_token_that_merges_make_is_written_too(tmp_path: Path) -> None:
    file = write(tmp_path, ["<", ">", "<>", "<x>"], ["< >"], ("<>", "<x>"))
    assert file.read_text(encoding="utf-8") == "PA== 0\nPg== 1\nPD4= 2\n"


def line(token: bytes, rank: int | str) -> bytes:
    return b64encode(token) + f" {rank}\n".encode()


AB = line(b"a", 0) + line(b"b", 1)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "holds no token"),
        (b"\n\n", "holds no token"),
        (b"YQ==\n", "line 1: a token in base64, a space and a rank are expected, got 'YQ=='"),
        (b" 0\n", "line 1: a token in base64"),
        (b"YQ== 0 0\n", "line 1: a token in base64"),
        (b"YQ==  0\n", "line 1: a token in base64"),
        (b"YQ==\t0\n", "line 1: a token in base64"),
        (b"YQ== -1\n", "line 1: a token in base64"),
        (b"YQ== +1\n", "line 1: a token in base64"),
        (b"YQ== 1_0\n", "line 1: a token in base64"),
        (b"YQ== 0x1\n", "line 1: a token in base64"),
        ("YQ== \u0661\n".encode(), "line 1: a token in base64"),
        (b"YQ== " + b"1" * 5_000, "line 1: a token in base64"),
        (b"YQ== 4294967296\n", "the id of 'YQ==' must be an integer from 0 to 4294967295, got 4294967296"),
        (b"Y-_= 0\n", "line 1: a token in base64"),
        (b"YQ= 0\n", "line 1: 'YQ=' is not base64"),
        (b"YQ=== 0\n", "line 1: 'YQ===' is not base64"),
        (AB + line(b"a", 2), "line 3: token b'a' is given twice, with ranks 0 and 2"),
        (AB + line(b"c", 1), "line 3: rank 1 is given to two tokens, b'b' and b'c'"),
        (
            AB + line(b"abb", 2),
            "token 2, b'abb', is not made of two tokens: merging by rank ends in b'a' b'b' b'b';",
        ),
        (AB + line(b"ac", 2), "token 2, b'ac', is not made of two tokens"),
        (
            line(b"a", 0) + line(b"b", 2),
            "the ids of 2 tokens must be 0 to 1; missing: 1; give special tokens",
        ),
        (
            line(b"a", 0) + line(b"b", 4_000_000_000),
            "the ids of 2 tokens must be 0 to 1; missing: 1; give special",
        ),
        (b"\xff\xfe", "is not UTF-8: invalid start byte at byte 0"),
    ],
)
def test_an_unsound_file_is_refused(content: bytes, message: str, tmp_path: Path) -> None:
    (tmp_path / "t.tiktoken").write_bytes(content)
    with pytest.raises(ValueError, match=r"t\.tiktoken: .*" + message):
        tiktoken.read(tmp_path / "t.tiktoken")


def test_blank_lines_and_a_missing_line_end_are_free(tmp_path: Path) -> None:
    (tmp_path / "t.tiktoken").write_bytes(b"\n\r\nYQ== 1\r\n\nYg== 0")
    parts = tiktoken.read(tmp_path / "t.tiktoken", ["<e>"], pattern="o200k")
    assert parts == Parts({0: b"b", 1: b"a", 2: b"<e>"}, [], {"<e>": 2}, "o200k")


@pytest.mark.parametrize(
    ("specials", "message"),
    [
        ({"<e>": 1}, "special token '<e>' has id 1, which is token b'b'"),
        ({"<e>": 3}, "the ids of 3 tokens must be 0 to 2; missing: 2; give special tokens"),
        ({"<e>": "2"}, "the id of '<e>' must be an integer"),
        ({"a": 2}, "special token 'a' has id 2, but id 0 is spelled alike"),
        ({"": 2}, r"special_tokens\[0\] is empty"),
        (["<e>", "<e>"], "special token '<e>' is given twice"),
    ],
)
def test_unsound_special_tokens_are_refused(specials: dict[str, int], message: str, tmp_path: Path) -> None:
    (tmp_path / "t.tiktoken").write_bytes(AB)
    with pytest.raises(ValueError, match=message):
        tiktoken.read(tmp_path / "t.tiktoken", specials)
