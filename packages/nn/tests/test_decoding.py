from collections.abc import Sequence
from dataclasses import replace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from hornbook.nn import TransformerConfig, TransformerLM
from hornbook.nn.decoding import Decoder
from reference_lm import EVERYTHING, VARIANTS, configs


def random_model(config: TransformerConfig) -> TransformerLM:
    model = TransformerLM(config, dtype=torch.float64).requires_grad_(False)
    for parameter in model.parameters():  # gains and mixes of their own: ones and halves could hide a mistake
        if parameter.ndim == 1:
            parameter.uniform_(0.5, 2)
    return model


class UncachedText:
    """One text and the rule of its window, with everything computed anew at each step."""

    def __init__(self, prompt: Sequence[int], context_length: int) -> None:
        self.context_length = context_length
        self.ids = list(prompt)
        self.start = max(0, len(prompt) - context_length)

    def append(self, token_id: int) -> None:
        self.ids.append(token_id)
        if len(self.ids) - self.start > self.context_length:
            self.start = len(self.ids) - max(1, self.context_length // 2)

    def logits(self, model: TransformerLM) -> Tensor:
        logits: Tensor = model(torch.tensor(self.ids[self.start :]))
        return logits[-1]


@settings(deadline=None, max_examples=15)
@given(configs(), st.lists(st.integers(1, 30), min_size=1, max_size=4), st.data())
def test_scores_are_those_of_the_window_alone_whatever_grows_beside_it(
    config: TransformerConfig, lengths: list[int], data: st.DataObject
) -> None:
    model = random_model(config)
    prompts = [torch.randint(config.vocab_size, (length,)).tolist() for length in lengths]
    texts = [UncachedText(prompt, config.context_length) for prompt in prompts]
    num_tokens = data.draw(st.integers(1, 2 * config.context_length + 2))
    decoder = Decoder(model, prompts, num_tokens)
    for _ in range(num_tokens):
        expected = torch.stack([text.logits(model) for text in texts])
        torch.testing.assert_close(decoder.logits(), expected, rtol=1e-9, atol=1e-9)
        new_ids = torch.randint(config.vocab_size, (len(texts),)).tolist()
        decoder.append(new_ids)
        for text, token_id in zip(texts, new_ids, strict=True):
            text.append(token_id)
        if len(texts) > 1 and data.draw(st.integers(0, 5)) == 0:
            rows = data.draw(st.permutations(range(len(texts))))[: len(texts) - 1]
            decoder.keep(rows)
            texts = [texts[row] for row in rows]


@pytest.mark.parametrize("name", VARIANTS)
def test_every_variant_is_decoded_past_its_context(name: str) -> None:
    model = random_model(VARIANTS[name])
    prompts = [[1, 2, 3], [4], list(range(20))]
    texts = [UncachedText(prompt, model.config.context_length) for prompt in prompts]
    decoder = Decoder(model, prompts, 30)
    for step in range(30):
        expected = torch.stack([text.logits(model) for text in texts])
        torch.testing.assert_close(decoder.logits(), expected, rtol=1e-9, atol=1e-9)
        decoder.append([step, 49 - step, 7])
        for text, token_id in zip(texts, (step, 49 - step, 7), strict=True):
            text.append(token_id)


def test_a_context_of_one_sees_the_newest_id() -> None:
    model = random_model(replace(EVERYTHING, context_length=1))
    decoder = Decoder(model, [[1, 2], [3]], 4)
    for new_ids in ([5, 6], [7, 8], [9, 1]):
        decoder.logits()
        decoder.append(new_ids)
        expected = torch.stack([model(torch.tensor([token_id]))[0] for token_id in new_ids])
        torch.testing.assert_close(decoder.logits(), expected, rtol=1e-9, atol=1e-9)
        decoder.append([0, 0])


def test_a_token_costs_one_position_and_a_full_window_half_a_context() -> None:
    model = random_model(replace(EVERYTHING, context_length=16))
    positions: list[tuple[int, ...]] = []
    model.token_embeddings.register_forward_hook(lambda _, args, __: positions.append(tuple(args[0].shape)))
    decoder = Decoder(model, [[1] * 10, [2] * 15], 10)
    for _ in range(10):
        decoder.logits()
        decoder.append([3, 4])
    fill, step = [(1, 9), (1, 14)], [(2, 1)]
    slide = [(1, 7)]  # the newest 8 ids but the newest, which goes with the step
    assert positions == fill + 2 * step + slide + 5 * step + slide + 3 * step


def test_prompts_of_one_length_are_computed_together() -> None:
    model = random_model(replace(EVERYTHING, context_length=16))
    shapes: list[tuple[int, ...]] = []
    model.token_embeddings.register_forward_hook(lambda _, args, __: shapes.append(tuple(args[0].shape)))
    Decoder(model, [[1] * 5, [2], [3] * 7, [4] * 5], 3)
    assert shapes == [(2, 4), (1, 6)]
