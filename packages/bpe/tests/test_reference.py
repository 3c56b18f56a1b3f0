"""Training and encoding are those of the shortest programs that do the same: both engines, 300 corpora."""

import random
import re
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest
import regex  # type: ignore[import-untyped]

from hornbook.bpe import GPT2_PATTERN, Tokenizer, library, train_bpe
from naive import Merges, naive_merges

SPECIALS = ["<e>", "<e><e>", "e><", "ab", "ba", "a b", "é", "\n\n", " <|endoftext|>", "<|endoftext|>"]
SPELLED = (
    "a|b|ab|ba|aa|aaaaaaa|the| the|The| cat|xyzzy| |  |\n|\r\n|\t|<e>|<|>|'s|'ll|'|1|42|½|\u2167|!|...|_"
    "|\0|\ufeff|\x1c|\x85|\xa0|\u3000|é|e\u0301|ß|日本|привет|हिन्दी|مرحبا|한국|🙂|👩\u200d👩|\U0010ffff"
)
FRAGMENTS = SPELLED.split("|")


def reference_split(text: str, specials: list[str]) -> list[str]:
    """Ordinary text at even places, special tokens at odd ones; where several start, the longest."""
    longest_first = sorted(specials, key=len, reverse=True)
    return re.split(f"({'|'.join(map(re.escape, longest_first))})", text) if specials else [text]


def apply_merge(tokens: list[bytes], pair: tuple[bytes, bytes]) -> list[bytes]:
    """Merge every occurrence of the pair, from left to right: "aaa" becomes "aa", "a"."""
    merged, place = [], 0
    while place < len(tokens):
        width = 2 if tuple(tokens[place : place + 2]) == pair else 1
        merged.append(b"".join(tokens[place : place + width]))
        place += width
    return merged


def reference_train(text: str, num_merges: int, specials: list[str]) -> Merges:
    """Count every pair anew for each merge."""
    ordinary = reference_split(text, specials)[::2]
    words = Counter(word.encode() for part in ordinary for word in regex.findall(GPT2_PATTERN, part))
    return naive_merges(words, num_merges)


def reference_encode(text: str, ids: dict[bytes, int], merges: Merges, specials: list[str]) -> list[int]:
    """Apply every merge to every pretoken, in the order in which they were learned."""
    encoded = []
    for number, part in enumerate(reference_split(text, specials)):
        for word in [part] if number % 2 else regex.findall(GPT2_PATTERN, part):
            tokens = [word.encode()] if number % 2 else [bytes([byte]) for byte in word.encode()]
            for pair in merges:
                tokens = apply_merge(tokens, pair)
            encoded += [ids[token] for token in tokens]
    return encoded


def corpus(draw: random.Random) -> tuple[str, list[str]]:
    """A text of few fragments, so with many ties, and special tokens that overlap, nest and repeat in it."""
    specials = draw.sample(SPECIALS, draw.choice([0, 1, 1, 2, 3, 5]))
    fragments = draw.sample(FRAGMENTS, draw.randint(2, 12)) + specials
    return "".join(draw.choices(fragments, k=draw.randint(1, 250))), specials


@pytest.fixture(params=["compiled", "pure"])
def engine(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    def forget() -> None:
        library.load.cache_clear()
        library._find.cache_clear()

    monkeypatch.setenv("HORNBOOK_BPE_PURE", str(int(request.param == "pure")))
    forget()
    if request.param == "compiled" and library.load() is None:
        pytest.skip(f"no compiled core: {library.describe()['engine']}")
    yield
    forget()


@pytest.mark.parametrize("block", range(10))
def test_merges_and_ids_are_those_of_the_reference(engine: None, block: int, tmp_path: Path) -> None:
    path = tmp_path / "text.txt"
    for seed in range(30 * block, 30 * block + 30):
        draw = random.Random(seed)
        text, specials = corpus(draw)
        num_merges = draw.choice([0, 1, 5, 40, 200])
        path.write_bytes(text.encode())
        vocab, merges = train_bpe(path, 256 + len(specials) + num_merges, specials)
        assert merges == reference_train(text, num_merges, specials), seed
        singles = [bytes([byte]) for byte in range(256)]
        made = [left + right for left, right in merges]
        assert vocab == dict(enumerate([*map(str.encode, specials), *singles, *made])), seed

        tokenizer = Tokenizer(vocab, merges, specials)
        ids = {token: token_id for token_id, token in reversed(vocab.items())}
        other, _ = corpus(draw)  # with pretokens that training has not seen
        for written in (text, other + text):
            assert tokenizer.encode(written) == reference_encode(written, ids, merges, specials), seed
            assert tokenizer.decode(tokenizer.encode(written)) == written, seed
