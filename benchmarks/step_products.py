"""The matrix products of one training step, alone: the least that a step takes which computes all scores."""

from collections.abc import Callable
from functools import partial

import torch
from torch import Tensor

from training_steps import Setting

Product = Callable[[], Tensor]


def products_of_a_step(setting: Setting) -> Callable[[], float]:
    """Return what runs all products that `training_flops` counts, each in its shape and role, in turn.

    For each linear map these are the output, the gradient of the input and that of the weight; for attention
    those with all scores of each head, two forward and four backward. Each has a result of its own, made
    before; layers share theirs. The head's logits are whole, which is faster than in chunks.
    """
    shape = setting.shape
    assert shape.ffn == "swiglu"
    d, heads = shape.d_model, shape.num_heads * shape.head_width
    kv_heads = (shape.num_kv_heads or shape.num_heads) * shape.head_width
    sizes = [
        (d, heads),
        (d, kv_heads),
        (d, kv_heads),
        (heads, d),
        (d, shape.d_ff),
        (d, shape.d_ff),
        (shape.d_ff, d),
    ]
    layer = [product for size in sizes for product in _linear(setting, *size)] + _attention(setting)
    everything = layer * shape.num_layers + _linear(setting, d, shape.vocab_size)

    def run() -> float:
        for product in everything:
            last = product()
        return float(last.flatten()[0])  # waits for the device

    return run


def _linear(setting: Setting, d_in: int, d_out: int) -> list[Product]:
    tokens = setting.batch_size * setting.shape.context_length
    x, grad_x = _numbers(setting, tokens, d_in), _numbers(setting, tokens, d_in)
    y, grad_y = _numbers(setting, tokens, d_out), _numbers(setting, tokens, d_out)
    weight, grad_weight = _numbers(setting, d_out, d_in), _numbers(setting, d_out, d_in)
    return [
        partial(torch.mm, x, weight.T, out=y),
        partial(torch.mm, grad_y, weight, out=grad_x),
        partial(torch.mm, grad_y.T, x, out=grad_weight),
    ]


def _attention(setting: Setting) -> list[Product]:
    shape = setting.shape
    number, seq = setting.batch_size * shape.num_heads, shape.context_length
    query, key, value, grad = (_numbers(setting, number, seq, shape.head_width) for _ in range(4))
    scores, weights = (_numbers(setting, number, seq, seq) for _ in range(2))
    results = [_numbers(setting, number, seq, shape.head_width) for _ in range(4)]
    return [
        partial(torch.bmm, query, key.mT, out=scores),
        partial(torch.bmm, weights, value, out=results[0]),
        partial(torch.bmm, grad, value.mT, out=scores),
        partial(torch.bmm, weights.mT, grad, out=results[1]),
        partial(torch.bmm, scores, key, out=results[2]),
        partial(torch.bmm, scores.mT, query, out=results[3]),
    ]


def _numbers(setting: Setting, *shape: int) -> Tensor:
    dtype = torch.bfloat16 if setting.bf16 else torch.float32
    return torch.randn(shape, device=setting.device, dtype=dtype)
