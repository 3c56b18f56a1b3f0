"""The rule "smallest ids" is that of Hugging Face's trainers."""

import json
import random
from collections import Counter

import pytest

from hornbook.bpe import library
from hornbook.bpe.merges import learn_merges, pack_words
from hornbook.bpe.native import declare
from hornbook.bpe.native_learn import learn_merges as learn_merges_natively

tokenizers = pytest.importorskip("tokenizers")

FRAGMENTS = [
    "a",
    "b",
    "ab",
    "aa",
    " the",
    "é",
    "日本",
    "🙂",
    "\0",
    "\r\n",
    "\n",
    " ",
    "  ",
    "'s",
    "1",
    "!",
    "\x7f",
    "\xad",
]


def hugging_face_merges(
    texts: list[str], num_merges: int, specials: list[str]
) -> tuple[Counter[bytes], list[tuple[bytes, bytes]]]:
    """The pretokens it counts, and the merges that it learns from them."""
    tokenizer = tokenizers.Tokenizer(tokenizers.models.BPE())
    tokenizer.pre_tokenizer = tokenizers.pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=True)
    alphabet = tokenizers.pre_tokenizers.ByteLevel.alphabet()
    trainer = tokenizers.trainers.BpeTrainer(
        vocab_size=len(specials) + 256 + num_merges,
        special_tokens=specials,
        initial_alphabet=alphabet,
        show_progress=False,
    )
    tokenizer.train_from_iterator(texts, trainer)
    merges = json.loads(tokenizer.to_str())["model"]["merges"]
    printable = {*range(0x21, 0x7F), *range(0xA1, 0x100)} - {0xAD}
    others = (value for value in range(256) if value not in printable)
    byte_of = {chr(value): value for value in printable} | {
        chr(256 + i): value for i, value in enumerate(others)
    }
    assert set(byte_of) == set(alphabet)

    def spell(token: str) -> bytes:
        return bytes(byte_of[char] for char in token)

    words = Counter(
        spell(word) for text in texts for word, _ in tokenizer.pre_tokenizer.pre_tokenize_str(text)
    )
    return words, [(spell(left), spell(right)) for left, right in merges]


@pytest.mark.parametrize("block", range(10))
def test_smallest_ids_learns_the_merges_of_hugging_face(block: int) -> None:
    core = library.load()
    for seed in range(40 * block, 40 * block + 40):
        draw = random.Random(seed)
        fragments = draw.sample(FRAGMENTS, draw.randint(2, len(FRAGMENTS)))
        texts = ["".join(draw.choices(fragments, k=draw.randint(1, 200))) for _ in range(draw.randint(1, 4))]
        if seed % 3 == 0:  # every byte that UTF-8 has
            texts.append("".join(map(chr, draw.choices(range(0x20, 0xD800), k=300))))
        specials = ["<|endoftext|>", "<e>"][: seed % 3]
        words, expected = hugging_face_merges(texts, 80, specials)
        assert learn_merges(*pack_words(words), 80, "smallest ids") == expected, seed
        if core is not None:
            assert learn_merges_natively(declare(core), *pack_words(words), 80, "smallest ids") == expected, (
                seed
            )
