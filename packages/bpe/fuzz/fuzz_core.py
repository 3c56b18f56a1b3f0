"""Targets for the compiled core: whatever the input, it gives what pure Python gives.

A target is a function of bytes; it fails by raising anything, or by ending the process.
"""

from collections.abc import Callable
from itertools import accumulate

import numpy as np

from fuzz_input import Input
from hornbook.bpe import engine, merges
from hornbook.bpe.counting import PureCounter, in_order
from hornbook.bpe.decode import Decoder
from hornbook.bpe.encode import PureEncoder
from hornbook.bpe.engine import PackedCounts
from hornbook.bpe.library import load
from hornbook.bpe.native import declare
from hornbook.bpe.patterns import find_pattern
from hornbook.bpe.special import SpecialTokens
from hornbook.bpe.vocabulary import MergeTable

_GPT2 = find_pattern("gpt2")


def utf8(data: bytes) -> None:
    """How much of the input is valid UTF-8, by every form that this machine can execute."""
    try:
        data.decode()
        expected = len(data)
    except UnicodeDecodeError as error:
        expected = error.start
    if (library := load()) is None:
        return
    for form in range(-1, 8):
        found = declare(library).hb_valid_prefix(data, len(data), form)
        if found < 0:
            break
        assert found == expected, f"the first {found} bytes are said to be valid, {expected} are"


def scan(data: bytes) -> None:
    """Where GPT-2's pretokens end, by every scanner that this machine can execute."""
    text = _valid(data)
    expected = _GPT2.spans(text).tolist()
    ends = np.empty(len(text), np.int64)
    if (library := load()) is None:
        return
    for number in range(-1, 8):
        num_ends = declare(library).hb_scan(text, len(text), ends.ctypes.data, number)
        if num_ends < 0:
            break
        _check_equal(ends[:num_ends].tolist(), expected)


def count(data: bytes) -> None:
    """Counts of the pretokens between special tokens, and of words counted elsewhere."""
    drawn = Input(data)
    specials = _specials(drawn, 0)
    words = _words(drawn)
    text = _valid(drawn.rest())
    unordered, in_order_of_both = [], []
    for new_counter in (engine.new_counter, PureCounter):
        counter, other = new_counter(_GPT2, specials), new_counter(_GPT2, specials)
        counter.add_text(text)
        counter.add_counts(words)
        counter.add_text(text[::-1].decode(errors="ignore").encode())
        other.add_text(text)
        unordered.append(dict(_items(counter.result())))
        in_order_of_both.append(list(_items(in_order([counter, other]))))
    _check_equal(*unordered)
    _check_equal(*in_order_of_both)


def learn(data: bytes) -> None:
    """The merges learned from counted words, with either way to break ties."""
    drawn = Input(data)
    tie_break = ("greatest bytes", "smallest ids")[drawn.below(2)]
    num_merges = drawn.below(300)
    counted: dict[bytes, int] = {}
    for word in drawn.rest().split(b"\n"):
        if word:
            # The same counts again and again, so that many pairs are equally frequent; some are large.
            counted[word] = counted.get(word, 0) + (1 << 40 if word[0] == 0xFF else 1 + word[0] % 3)
    words = _packed(counted)
    _check_equal(
        engine.learn_merges(words, num_merges, tie_break), merges.learn_merges(*words, num_merges, tie_break)
    )


def encode(data: bytes) -> None:
    """Token ids by a vocabulary drawn from the input, with a cache that is small or large, cold and warm."""
    drawn = Input(data)
    dtype = np.dtype((np.uint16, np.uint32)[drawn.below(2)])
    cache_entries = (1, 4, 64, 1 << 16)[drawn.below(4)]
    missing = drawn.below(512)  # above 255: no byte is missing
    tokens = [bytes([value]) for value in range(256)]
    ids = {token: token_id for token_id, token in enumerate(tokens) if token_id != missing}
    table: MergeTable = {}
    for rank in range(drawn.below(64)):
        left, right = drawn.below(len(tokens)), drawn.below(len(tokens))
        product = tokens[left] + tokens[right]
        if missing in (left, right) or (left, right) in table or len(product) > 512:
            continue
        if product not in ids:
            ids[product] = len(tokens)
            tokens.append(product)
        table[left, right] = (rank, ids[product])
    byte_ids = {value: value for value in range(256) if value != missing}
    specials = _specials(drawn, len(tokens))
    text = _valid(drawn.rest())
    compiled = engine.encoder_factory(byte_ids, table, _GPT2, dtype)(cache_entries)
    pure = PureEncoder(byte_ids, table, _GPT2, dtype, cache_entries)
    for part in (text, text[: len(text) // 2].decode(errors="ignore").encode(), text):
        _check_equal(_ids_or_none(compiled, part, specials), _ids_or_none(pure, part, specials))


def decode(data: bytes) -> None:
    """The bytes of token ids, some of them unknown."""
    drawn = Input(data)
    vocab = {token_id: drawn.chunk(16) or b"x" for token_id in range(1 + drawn.below(300))}
    numbers = drawn.rest()
    ids = np.frombuffer(numbers[: len(numbers) // 2 * 2], ">u2").astype(np.uint32) % (len(vocab) + 1)
    unknown = len(vocab) in ids
    try:
        decoded = Decoder(vocab).decode(ids)
    except ValueError:
        assert unknown, "an id is said to be unknown and is not"
        return
    assert not unknown, "an unknown id was decoded"
    _check_equal(decoded, b"".join(vocab[token_id] for token_id in ids.tolist()))


def _valid(data: bytes) -> bytes:
    return data.decode(errors="ignore").encode()


def _specials(drawn: Input, first_id: int) -> SpecialTokens:
    texts = dict.fromkeys(text for _ in range(drawn.below(5)) if (text := drawn.text(12)))
    return SpecialTokens({text: first_id + index for index, text in enumerate(texts)})


def _words(drawn: Input) -> PackedCounts:
    counted = {}
    for _ in range(drawn.below(8)):
        if word := drawn.chunk(40):
            counted[word] = 1 + (drawn.below(256) << drawn.below(48))
    return _packed(counted)


def _packed(counted: dict[bytes, int]) -> PackedCounts:
    return PackedCounts(
        np.frombuffer(b"".join(counted), np.uint8),
        np.array([*accumulate(map(len, counted))], np.int64),
        np.array([*counted.values()], np.int64),
    )


def _items(counts: PackedCounts) -> list[tuple[bytes, int]]:
    data, starts = counts.data.tobytes(), [0, *counts.ends[:-1].tolist()]
    words = [data[start:end] for start, end in zip(starts, counts.ends.tolist(), strict=False)]
    assert len(set(words)) == len(words), "a word is counted in two places"
    return list(zip(words, counts.counts.tolist(), strict=True))


def _ids_or_none(encoder: engine.Encoder, text: bytes, specials: SpecialTokens) -> list[int] | None:
    try:
        return [*map(int, encoder.encode(text, specials))]
    except ValueError:  # a byte is missing
        return None


def _check_equal(compiled: object, pure: object) -> None:
    assert compiled == pure, f"\ncompiled: {compiled!r:.2000}\n    pure: {pure!r:.2000}"


TARGETS: dict[str, Callable[[bytes], None]] = {
    function.__name__: function for function in (utf8, scan, count, learn, encode, decode)
}
