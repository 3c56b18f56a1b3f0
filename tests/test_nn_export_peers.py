"""What is exported computes the same in transformers and in llama.cpp: ids, logits, greedy text."""

import json
import urllib.request
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from hornbook.bpe import Tokenizer, train_bpe
from hornbook.nn import TransformerConfig, TransformerLM
from recipes.export import Dtype, export
from recipes.stories import END_OF_TEXT, write_stories
from recipes.trained import TrainedModel

transformers = pytest.importorskip("transformers")

TEXTS = [
    "Once upon a time, there was a fox who couldn't count to 12345.",
    f" two  spaces,\ttabs \n\n and ends of lines\r\n  \n{END_OF_TEXT}Then naïve café €5 日本語 👩‍👩‍👧 ',",
    f"{END_OF_TEXT}{END_OF_TEXT}",
    "".join(map(chr, range(1, 0x250))),
    "trailing   ",
]
VARIANTS: dict[str, dict[str, Any]] = {
    "llama": {},
    "grouped queries": {"num_kv_heads": 2},
    "tied": {"num_kv_heads": 4, "tied_embeddings": True, "rope_theta": 500.0, "norm_eps": 1e-3},
    "qwen3": {"num_kv_heads": 2, "qk_norm": True},
    "qwen3, wide heads": {"num_kv_heads": 2, "qk_norm": True, "head_dim": 16},
}


@pytest.fixture(scope="module")
def tokenizer(tmp_path_factory: pytest.TempPathFactory) -> Tokenizer:
    path = tmp_path_factory.mktemp("texts") / "stories.txt"
    write_stories(path, num_bytes=60_000, seed=0, split="train")
    return Tokenizer(*train_bpe(path, 400, [END_OF_TEXT]), [END_OF_TEXT])


@pytest.fixture(params=VARIANTS)
def trained(request: pytest.FixtureRequest, tokenizer: Tokenizer) -> TrainedModel:
    """A model with random weights and gains, whose logits spread enough for greedy text to depend on it."""
    torch.manual_seed(0)
    config = TransformerConfig(
        vocab_size=tokenizer.vocab_size, context_length=64, num_layers=3, d_model=64, num_heads=8, d_ff=96
    )
    model = TransformerLM(replace(config, **VARIANTS[request.param])).requires_grad_(False)
    for name, parameter in model.named_parameters():
        if "norm" in name or "ln" in name:  # gains of one would hide a norm in the wrong place
            parameter.uniform_(0.5, 2)
        else:
            parameter.mul_(1.5)
    (stop_id,) = tokenizer.encode(END_OF_TEXT)
    return TrainedModel(model, tokenizer, stop_id, step=0)


def prompts(trained: TrainedModel) -> Iterator[list[int]]:
    for text in TEXTS:
        yield trained.tokenizer.encode(text)[:24]


def greedy(trained: TrainedModel, prompt: list[int]) -> list[int]:
    """The likeliest ids that follow, without the one that ends the text."""
    ids: list[int] = []
    while len(ids) < 24:
        token_id = int(trained.model(torch.tensor(prompt + ids))[-1].argmax())
        if token_id == trained.stop_id:
            break
        ids.append(token_id)
    return ids


def test_transformers_gives_the_same_ids_logits_and_greedy_text(
    tmp_path: Path, trained: TrainedModel
) -> None:
    export(trained, "huggingface", tmp_path / "out")
    peer = transformers.AutoModelForCausalLM.from_pretrained(tmp_path / "out")
    name = "Qwen3ForCausalLM" if trained.model.config.qk_norm else "LlamaForCausalLM"
    assert type(peer).__name__ == name
    assert peer.dtype == torch.float32
    for prompt in prompts(trained):
        logits = trained.model(torch.tensor(prompt))
        assert logits.std() > 0.5
        theirs = peer(torch.tensor([prompt])).logits[0].detach()
        torch.testing.assert_close(logits, theirs, rtol=0, atol=1e-4)
        continued = peer.generate(torch.tensor([prompt]), max_new_tokens=24, do_sample=False)
        ids = continued[0, len(prompt) :].tolist()
        assert [token_id for token_id in ids if token_id != trained.stop_id] == greedy(trained, prompt)


def test_the_tokenizer_of_transformers_gives_the_same_ids(tmp_path: Path, trained: TrainedModel) -> None:
    export(trained, "huggingface", tmp_path / "out")
    peer = transformers.AutoTokenizer.from_pretrained(tmp_path / "out")
    for text in TEXTS:
        ids = trained.tokenizer.encode(text)
        assert peer(text)["input_ids"] == ids  # nothing is added
        assert peer.decode(ids) == text
    assert peer.bos_token_id == peer.eos_token_id == trained.stop_id
    assert peer.model_max_length == 64
    assert len(peer) == trained.tokenizer.vocab_size


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_transformers_opens_half_precision_as_such(
    tmp_path: Path, trained: TrainedModel, dtype: Dtype
) -> None:
    export(trained, "huggingface", tmp_path / "out", dtype)
    peer = transformers.AutoModelForCausalLM.from_pretrained(tmp_path / "out", dtype="auto")
    assert peer.dtype == getattr(torch, dtype)
    own = trained.model.token_embeddings.weight
    assert own.dtype == torch.float32  # the caller's model stays as it is
    assert torch.equal(peer.model.embed_tokens.weight, own.to(peer.dtype))


class LlamaCpp:
    """llama.cpp's server with one model, on this machine's loopback."""

    def __init__(self, path: Path) -> None:
        llama_cpp = pytest.importorskip("xllamacpp")
        parameters = llama_cpp.CommonParams()
        parameters.model.path = str(path)
        parameters.n_ctx, parameters.n_parallel, parameters.warmup = 64, 1, False
        parameters.cpuparams.n_threads = 1
        # By default it rounds keys and values to float16.
        parameters.cache_type_k = parameters.cache_type_v = llama_cpp.ggml_type.GGML_TYPE_F32
        parameters.flash_attn_type = llama_cpp.llama_flash_attn_type.LLAMA_FLASH_ATTN_TYPE_DISABLED
        self._server = llama_cpp.Server(parameters)

    def ask(self, path: str, **body: object) -> Any:
        request = urllib.request.Request(
            self._server.listening_address + path,
            json.dumps(body).encode(),
            {"Content-Type": "application/json"},
        )
        with urllib.request.urlopen(request) as answer:
            return json.load(answer)

    def complete(self, prompt: list[int], num_tokens: int, **more: object) -> Any:
        settings = {"temperature": 0, "cache_prompt": False, "return_tokens": True}
        return self.ask("/completion", prompt=prompt, n_predict=num_tokens, **settings, **more)


def llama_cpp(trained: TrainedModel, directory: Path, dtype: Dtype = "float32") -> LlamaCpp:
    pytest.importorskip("gguf")
    (path,) = export(trained, "gguf", directory / "model.gguf", dtype)
    return LlamaCpp(path)


def test_llama_cpp_gives_the_same_greedy_text(tmp_path: Path, trained: TrainedModel) -> None:
    peer = llama_cpp(trained, tmp_path)
    for prompt in prompts(trained):
        tokens = peer.complete(prompt, 24)["tokens"]
        assert [token_id for token_id in tokens if token_id != trained.stop_id] == greedy(trained, prompt)


# With matrices in float16 it rounds what they are multiplied with, too.
@pytest.mark.parametrize(("dtype", "tolerance"), [("float32", 1e-4), ("float16", 0.05)])
def test_llama_cpp_gives_the_same_probabilities(
    tmp_path: Path, trained: TrainedModel, dtype: Dtype, tolerance: float
) -> None:
    size, prompt = trained.tokenizer.vocab_size, trained.tokenizer.encode(TEXTS[0])
    answer = llama_cpp(trained, tmp_path, dtype).complete(prompt, 20, n_probs=size)
    given = list(answer["completion_probabilities"])
    num_compared = 0
    for count, token_id in enumerate(answer["tokens"]):
        if not given or given[0]["id"] != token_id:  # it tells nothing of the first bytes of a character
            continue
        ours = trained.model(torch.tensor(prompt + answer["tokens"][:count]))[-1].log_softmax(-1)
        theirs = torch.zeros(size)
        for entry in given.pop(0)["top_logprobs"]:
            theirs[entry["id"]] = entry["logprob"]
        torch.testing.assert_close(ours, theirs, rtol=0, atol=tolerance)
        num_compared += 1
    assert num_compared > 5


def test_llama_cpp_gives_the_same_ids(tmp_path: Path, trained: TrainedModel) -> None:
    peer = llama_cpp(trained, tmp_path)
    for text in TEXTS:
        tokens = peer.ask("/tokenize", content=text, parse_special=True, add_special=True)["tokens"]
        assert tokens == trained.tokenizer.encode(text)
