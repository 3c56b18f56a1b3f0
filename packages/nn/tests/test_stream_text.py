import codecs

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from hornbook.nn import GREEDY, StopStrings, TransformerConfig, TransformerLM, generate, stream_text

# Tokens of no, one and several bytes, some of which are parts of a character.
TOKENS = [b"", b"a", b"b", b"ab", b" the", b"e e", b"nd", b"\n", b"\xc3", b"\xa9", b"\xc3\xa9t", b"\xf0\x9f"]
CONFIG = TransformerConfig(
    vocab_size=len(TOKENS), context_length=6, num_layers=1, d_model=16, num_heads=2, d_ff=16
)


class Bytes:
    """Decodes the ids of TOKENS."""

    def __init__(self) -> None:
        self.decoder = codecs.getincrementaldecoder("utf-8")(errors="replace")

    def push(self, token_id: int) -> str:
        return self.decoder.decode(TOKENS[token_id])

    def finish(self) -> str:
        return self.decoder.decode(b"", final=True)


def decoded(ids: list[int]) -> str:
    return b"".join(TOKENS[i] for i in ids).decode(errors="replace")


@settings(deadline=None, max_examples=30)
@given(
    st.integers(0, 2**63 - 1),
    st.lists(st.lists(st.integers(0, 11), min_size=1, max_size=9), min_size=1, max_size=3),
    st.lists(st.sampled_from(["a", "é", "the e", "end", "b\n", "aba", "\ufffd"]), max_size=2),
    st.lists(st.integers(0, 11), max_size=2),
    st.integers(0, 15),
)
def test_pieces_are_the_text_of_the_ids_up_to_a_stop_string(
    seed: int, prompts: list[list[int]], stop_strings: list[str], stop_ids: list[int], max_tokens: int
) -> None:
    torch.manual_seed(seed)
    model = TransformerLM(CONFIG, dtype=torch.float64)
    seeds = [seed // 2 + row for row in range(len(prompts))]
    steps = list(
        stream_text(
            model,
            prompts,
            Bytes,
            max_tokens=max_tokens,
            stop_ids=stop_ids,
            stop_strings=stop_strings,
            seeds=seeds,
        )
    )
    for row, prompt in enumerate(prompts):
        ids = generate(model, prompt, max_tokens=max_tokens, stop_ids=stop_ids, seed=seeds[row])
        text = StopStrings(stop_strings)
        expected = text.push(decoded(ids)) + text.finish()
        pieces = [step[row] for step in steps]
        assert "".join(piece for piece in pieces if piece is not None) == expected
        ended = pieces.index(None) if None in pieces else len(pieces)
        assert pieces[ended:] == [None] * (len(pieces) - ended)
        assert ended <= len(ids) + 1  # what waits comes with the step that ends the text


def test_nothing_is_computed_for_a_text_that_has_met_its_stop_string() -> None:
    model = TransformerLM(CONFIG)
    rows = []
    model.register_forward_hook(lambda _, args, __: rows.append(args[0].shape[0]))
    first = decoded(generate(model, [1], max_tokens=1, sampling=GREEDY))
    other = decoded(generate(model, [2], max_tokens=1, sampling=GREEDY))
    rows.clear()
    stops = [first] if first else []
    steps = stream_text(model, [[1], [2]], Bytes, max_tokens=3, sampling=GREEDY, stop_strings=stops)
    assert rows == []  # nothing before the first step is asked for
    list(steps)
    if first and first not in other:
        assert rows[:2] == [2, 1]


def test_a_stop_string_in_the_prompt_stops_nothing() -> None:
    model = TransformerLM(CONFIG)
    with torch.no_grad():
        model.lm_head.weight.zero_()  # every token is as likely: greedy takes id 0, which is no text
    steps = stream_text(model, [[1, 1]], Bytes, max_tokens=3, sampling=GREEDY, stop_strings=["aa", "a"])
    assert list(steps) == [[""], [""], [""], [""]]


def test_mistakes_are_told_by_the_call() -> None:
    model = TransformerLM(CONFIG)
    with pytest.raises(ValueError, match="a stop string must not be empty"):
        stream_text(model, [[1]], Bytes, max_tokens=1, stop_strings=[""])
    with pytest.raises(ValueError, match="prompt id 12 is not in the vocabulary of 12 tokens"):
        stream_text(model, [[12]], Bytes, max_tokens=1)
