"""Many texts, and many threads."""

import random
import threading
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import pytest

from hornbook.bpe.batch import PIECE_BYTES
from hornbook.bpe.encoders import EncoderPool
from hornbook.bpe.special import SpecialTokens
from tokenizers_made import FRAGMENTS, SPECIALS, each_engine, trained


def test_a_long_text_of_a_batch_is_shared_out_in_pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    sizes: list[int] = []
    encode = EncoderPool.encode

    def encode_and_tell(pool: EncoderPool, text: bytes, specials: SpecialTokens) -> Any:
        sizes.append(len(text))
        return encode(pool, text, specials)

    monkeypatch.setattr(EncoderPool, "encode", encode_and_tell)
    draw = random.Random(3)
    long = "".join(draw.choices([*FRAGMENTS, *SPECIALS], k=400_000))
    batch = trained().encode_batch(["the ", long, "", long.encode(), "cat"], num_threads=2)
    assert max(sizes) < 2 * PIECE_BYTES < len(long)
    assert batch[1] == batch[3] == trained().encode(long)
    assert (batch[0], batch[2], batch[4]) == (trained().encode("the "), [], trained().encode("cat"))
    broken = long.encode() + b" \xff"
    with pytest.raises(ValueError, match=rf"texts\[1\]: .* byte 0xff at offset {len(broken) - 1};"):
        trained().encode_batch(["", broken], num_threads=2)
    expected = trained().encode(broken, errors="bytes")
    assert trained().encode_batch([broken], errors="bytes") == [expected]


def test_a_batch_names_the_text_that_fails() -> None:
    for bad, error, message in (
        ("\ud800", ValueError, r"texts\[2\]: the text has half a surrogate pair at position 0"),
        (b"a\xff", ValueError, r"texts\[2\]: the text is not valid UTF-8: byte 0xff at offset 1"),
        (7, TypeError, r"texts\[2\]: text must be str or bytes, got int"),
    ):
        with pytest.raises(error, match=message):
            trained().encode_batch(["the ", b"cat", bad])  # type: ignore[list-item]
    with pytest.raises(TypeError, match="encode_batch takes several texts, got one str"):
        trained().encode_batch("the cat")
    assert trained().encode_batch([]) == []


@each_engine
def test_a_tokenizer_serves_many_threads_at_once(which: str) -> None:
    draw = random.Random(1)
    inputs = ["".join(draw.choices([*FRAGMENTS, *SPECIALS], k=300)) for _ in range(40)]
    tokenizer = trained(which=which)
    expected = [tokenizer.encode(text) for text in inputs]
    with ThreadPoolExecutor(8) as pool:
        assert list(pool.map(tokenizer.encode, inputs * 5)) == expected * 5
        assert list(pool.map(lambda text: list(tokenizer.encode_iterable([text])), inputs)) == expected
        assert list(pool.map(tokenizer.decode, expected)) == inputs
    long = [text * 40 for text in inputs[:8]]
    assert tokenizer.encode_batch(long, num_threads=4) == [tokenizer.encode(text) for text in long]


def test_an_encoder_serves_one_thread_at_a_time_and_is_used_again() -> None:
    made: list[Any] = []
    meeting = threading.Barrier(4, timeout=30)

    class Alone:
        def __init__(self, cache_entries: int) -> None:
            made.append(cache_entries)
            self.busy = False

        def encode(self, text: bytes | memoryview, specials: Any) -> Any:
            assert not self.busy
            self.busy = True
            meeting.wait()  # four are here at the same time
            self.busy = False
            return np.zeros(1, np.uint16)

    pool = EncoderPool(Alone, 7)
    with ThreadPoolExecutor(4) as threads:
        for _ in range(3):
            list(threads.map(lambda text: pool.encode(text, SpecialTokens({})), [b""] * 4))
    assert made == [7] * 4
