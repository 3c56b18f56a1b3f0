"""Training and encoding side by side with Hugging Face tokenizers and tiktoken.

uv run --group peers benchmarks/bench_bpe.py [--text FILE] [--vocab-size N] [--repetitions N]
"""

import argparse
import sys
import tempfile
from pathlib import Path

import tiktoken
import tokenizers

from common import alternate, print_machine, print_table
from hornbook.bpe import GPT2_PATTERN, Tokenizer, train_bpe

sys.path.insert(0, str(Path(__file__).parents[1] / "apps"))
from recipes.stories import write_stories

END_OF_TEXT = "<|endoftext|>"


def hugging_face(path: Path, vocab_size: int) -> tokenizers.Tokenizer:
    """Train the peer's byte-level BPE on the same file."""
    peer = tokenizers.Tokenizer(tokenizers.models.BPE())
    peer.pre_tokenizer = tokenizers.pre_tokenizers.ByteLevel(add_prefix_space=False)
    trainer = tokenizers.trainers.BpeTrainer(
        vocab_size=vocab_size,
        special_tokens=[END_OF_TEXT],
        initial_alphabet=tokenizers.pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    peer.train([str(path)], trainer)
    return peer


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--text", type=Path, help="default: 10 MB of stories generated here")
    parser.add_argument("--vocab-size", type=int, default=10_000)
    parser.add_argument("--repetitions", type=int, default=3)
    flags = parser.parse_args()
    print_machine()
    with tempfile.TemporaryDirectory() as directory:
        path = flags.text or Path(directory) / "stories.txt"
        if flags.text is None:
            write_stories(path, num_bytes=10_000_000, seed=0, split="train")
        megabytes = path.stat().st_size / 1e6
        print(f"{path.name}: {megabytes:.1f} MB, vocabulary of {flags.vocab_size:,}")

        vocab, merges = train_bpe(path, flags.vocab_size, [END_OF_TEXT])
        training = {
            "hornbook": lambda: train_bpe(path, flags.vocab_size, [END_OF_TEXT]),
            f"tokenizers {tokenizers.__version__}": lambda: hugging_face(path, flags.vocab_size),
        }
        print_table("train", alternate(training, flags.repetitions), megabytes, "MB", cpu=True)

        text = path.read_text(encoding="utf-8")
        ours = Tokenizer(vocab, merges, [END_OF_TEXT])
        ranks = {token: rank for rank, token in vocab.items() if token != END_OF_TEXT.encode()}
        theirs = tiktoken.Encoding(
            "same", pat_str=GPT2_PATTERN, mergeable_ranks=ranks, special_tokens={END_OF_TEXT: 0}
        )
        assert ours.encode(text[:100_000]) == theirs.encode(text[:100_000], allowed_special="all")
        encoding = {
            "hornbook": lambda: ours.encode(text),
            f"tiktoken {tiktoken.__version__}": lambda: theirs.encode(text, allowed_special="all"),
        }
        print_table(
            "encode to a list, one thread", alternate(encoding, flags.repetitions), megabytes, "MB", cpu=True
        )


if __name__ == "__main__":
    main()
