"""hornbook.nn draws what transformers draws, given the same weights, prompts and options."""

from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from hornbook.nn import (
    GREEDY,
    Sampling,
    TransformerConfig,
    TransformerLM,
    generate_batch,
    next_token_probabilities,
)
from hornbook.nn.formats import save_huggingface

transformers = pytest.importorskip("transformers")

CONFIG = TransformerConfig(
    vocab_size=97,
    context_length=64,
    num_layers=3,
    d_model=48,
    num_heads=6,
    num_kv_heads=2,
    d_ff=56,
    qk_norm=True,
)


@settings(deadline=None)
@given(
    st.integers(0, 10**6),
    st.floats(1.0, 2.0) | st.just(1.0),
    st.floats(0.1, 3.0),
    st.none() | st.integers(1, 40),
    st.floats(0.05, 1.0) | st.just(1.0),
    st.floats(0.01, 1.0) | st.just(0.0),
)
def test_probabilities_are_those_of_transformers_processors(
    seed: int, penalty: float, temperature: float, top_k: int | None, top_p: float, min_p: float
) -> None:
    torch.manual_seed(seed)
    logits = 4 * torch.randn(3, 40, dtype=torch.float64)
    ids = torch.randint(40, (3, 9))
    model = transformers.GenerationMixin()
    options = transformers.GenerationConfig(
        repetition_penalty=penalty,
        temperature=temperature,
        top_k=top_k or 0,
        top_p=top_p,
        min_p=min_p or None,
        do_sample=True,
    )
    model.config = transformers.LlamaConfig()
    processors = model._get_logits_processor(options, input_ids_seq_length=9, device="cpu")
    expected = processors(ids, logits.clone()).softmax(-1)
    sampling = Sampling(
        repetition_penalty=penalty, temperature=temperature, top_k=top_k, top_p=top_p, min_p=min_p
    )
    seen = torch.zeros(3, 40, dtype=torch.bool).scatter_(1, ids, True)
    probabilities = next_token_probabilities(logits, sampling, seen)
    torch.testing.assert_close(probabilities, expected, rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("penalty", [1.0, 1.3])
def test_a_ragged_batch_continues_as_in_transformers(penalty: float, tmp_path: Path) -> None:
    torch.manual_seed(0)
    model = TransformerLM(CONFIG)
    save_huggingface(model, tmp_path)
    peer: Any = transformers.AutoModelForCausalLM.from_pretrained(tmp_path, dtype="auto").eval()
    prompts = [torch.randint(CONFIG.vocab_size, (length,)).tolist() for length in (5, 1, 17, 5)]
    sampling = Sampling(temperature=0.0, repetition_penalty=penalty)
    ours = generate_batch(model, prompts, max_tokens=40, sampling=sampling)
    assert len({tuple(ids) for ids in ours}) == 4
    for prompt, ids in zip(prompts, ours, strict=True):
        continued = peer.generate(
            torch.tensor([prompt]),
            attention_mask=torch.ones(1, len(prompt), dtype=torch.long),
            max_new_tokens=40,
            do_sample=False,
            repetition_penalty=penalty,
            pad_token_id=0,
        )
        assert ids == continued[0, len(prompt) :].tolist()
    if penalty == 1:  # transformers' penalty sees the padding
        longest = max(map(len, prompts))
        padded = torch.tensor([[0] * (longest - len(prompt)) + prompt for prompt in prompts])
        mask = torch.tensor([[0] * (longest - len(prompt)) + [1] * len(prompt) for prompt in prompts])
        together = peer.generate(
            padded, attention_mask=mask, max_new_tokens=40, do_sample=False, pad_token_id=0
        )
        assert ours == together[:, longest:].tolist()
        assert ours == generate_batch(model, prompts, max_tokens=40, sampling=GREEDY)
