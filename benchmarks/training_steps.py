"""Training steps of hornbook and its peers: same shape, same data, same optimizer."""

import importlib.util
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from unittest.mock import patch

import torch
from torch import Tensor
from torch.nn import Module
from torch.nn.functional import cross_entropy as torch_cross_entropy

from hornbook.nn import TransformerConfig, TransformerLM, cross_entropy, functional, fused_embedding, norm
from hornbook.nn import embedding as embedding_module
from hornbook.nn import feed_forward as feed_forward_module
from hornbook.nn import linear as linear_module
from hornbook.nn import rope as rope_module
from hornbook.optim import AdamW, clip_grad_norm_, decay_groups

Loss = Callable[[Tensor, Tensor], Tensor]
Step = Callable[[], float]


@dataclass(frozen=True, kw_only=True)
class Setting:
    """What a step is measured with."""

    shape: TransformerConfig
    batch_size: int
    device: str = "cpu"
    bf16: bool = False
    compiled: bool = False
    fused_optimizer: bool = False
    nanogpt: Path | None = None  # its model.py


def contestants(setting: Setting) -> list[str]:
    """Return who can run here; hornbook first."""
    names = ["hornbook"]
    if not setting.compiled:
        names.append("hornbook, definitions")
    if importlib.util.find_spec("transformers") is not None:
        names.append("transformers Llama")
    if setting.nanogpt is not None:
        names.append("nanoGPT")
    return names


def make_step(name: str, setting: Setting) -> Step:
    """Return a whole update: forward, backward, clipping, AdamW."""
    torch.manual_seed(0)
    model, loss = _MAKERS[name](setting)
    model.to(setting.device)
    tokens = torch.randint(
        setting.shape.vocab_size,
        (setting.batch_size, setting.shape.context_length + 1),
        device=setting.device,
    )
    return update_step(model, loss, tokens, setting)


def update_step(model: Module, loss: Loss, tokens: Tensor, setting: Setting) -> Step:
    """Return an update of this model on these tokens, with a new optimizer."""
    optimizer = AdamW(decay_groups(model, 0.1), 1e-4, fused=setting.fused_optimizer)

    def forward(inputs: Tensor, targets: Tensor) -> Tensor:
        with torch.autocast(torch.device(setting.device).type, torch.bfloat16, enabled=setting.bf16):
            return loss(inputs, targets)

    run = torch.compile(forward, dynamic=False) if setting.compiled else forward

    def step() -> float:
        batch_loss = run(tokens[:, :-1], tokens[:, 1:])
        batch_loss.backward()  # type: ignore[no-untyped-call]
        clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad()
        return float(batch_loss.detach())  # waits for the device

    return step


def _hornbook(setting: Setting) -> tuple[Module, Loss]:
    model = TransformerLM(setting.shape)
    return model, model.loss


def _definitions(setting: Setting) -> tuple[Module, Loss]:
    model = TransformerLM(replace(setting.shape, attention="explicit"))

    def loss(inputs: Tensor, targets: Tensor) -> Tensor:
        with _definitions_only():
            return cross_entropy(model(inputs), targets)

    return model, loss


@contextmanager
def _definitions_only() -> Iterator[None]:
    """Take the definitions where hornbook has a fused form; its backward pass follows from the forward."""
    with ExitStack() as stack:
        stack.enter_context(patch.object(norm, "fused_rms_norm", norm.rms_norm))
        stack.enter_context(patch.object(feed_forward_module, "fused_gated_silu", functional.gated_silu))
        stack.enter_context(patch.object(rope_module, "complex_turns", lambda *_: None))
        stack.enter_context(patch.object(linear_module, "fused_linears", functional.linears))
        stack.enter_context(patch.object(embedding_module, "fused_rows_of", fused_embedding.rows_of))
        yield


def _transformers(setting: Setting) -> tuple[Module, Loss]:
    import transformers

    shape = setting.shape
    model = transformers.LlamaForCausalLM(
        transformers.LlamaConfig(
            vocab_size=shape.vocab_size,
            hidden_size=shape.d_model,
            intermediate_size=shape.d_ff,
            num_hidden_layers=shape.num_layers,
            num_attention_heads=shape.num_heads,
            max_position_embeddings=shape.context_length,
            tie_word_embeddings=False,
            attn_implementation="sdpa",  # type: ignore[call-arg]
        )
    )

    def loss(inputs: Tensor, targets: Tensor) -> Tensor:
        logits = model(input_ids=inputs, use_cache=False).logits
        return torch_cross_entropy(logits.float().flatten(0, 1), targets.flatten())

    return model, loss


def _nanogpt(setting: Setting) -> tuple[Module, Loss]:
    """GPT-2 with MLPs of 4 d_model, which are as large as SwiGLU's 8/3 d_model; its head is its embedding."""
    assert setting.nanogpt is not None
    spec = importlib.util.spec_from_file_location("nanogpt_model", setting.nanogpt)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # the compiler looks for it there
    spec.loader.exec_module(module)
    shape = setting.shape
    config = module.GPTConfig(
        block_size=shape.context_length,
        vocab_size=shape.vocab_size,
        n_layer=shape.num_layers,
        n_head=shape.num_heads,
        n_embd=shape.d_model,
        bias=False,
    )
    model: Module = module.GPT(config)
    return model, lambda inputs, targets: model(inputs, targets.contiguous())[1]


_MAKERS: dict[str, Callable[[Setting], tuple[Module, Loss]]] = {
    "hornbook": _hornbook,
    "hornbook, definitions": _definitions,
    "transformers Llama": _transformers,
    "nanoGPT": _nanogpt,
}
