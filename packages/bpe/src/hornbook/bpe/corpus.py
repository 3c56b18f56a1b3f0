"""Encode a corpus into a token file: streaming, on several threads."""

import os
from contextlib import closing
from pathlib import Path

from . import sources
from .arguments import check_num_threads, check_progress
from .cuts import BLOCK_BYTES
from .encoders import TextEncoder
from .engine import TokenIds
from .progress import Progress
from .special import SpecialTokens
from .threads import ordered_map
from .token_file import TokenFileWriter, TokenManifest, token_file_paths

END_OF_TEXT = "<|endoftext|>"


def encode_corpus(
    src: sources.InputPath,
    path: Path,
    encoder: TextEncoder,
    specials: SpecialTokens,
    *,
    tokenizer: str,
    document_end: str,
    num_threads: int | None,
    progress: Progress | None,
) -> TokenManifest:
    """Write the ids of `src` to `path`; `Tokenizer.encode_file` says the rest.

    Args:
        src: Texts.
        path: The token file.
        encoder: Of the tokenizer.
        specials: All its special tokens.
        tokenizer: Its fingerprint.
        document_end: The special token that ends a document.
        num_threads: Threads that encode; None for one for each processor.
        progress: Called with stage "encode".
    """
    check_progress(progress)
    if not isinstance(document_end, str):
        msg = f"document_end must be a special token, a str, got {document_end!r:.80}"
        raise TypeError(msg)
    end_id = specials.ids.get(document_end)
    if end_id is None and document_end != END_OF_TEXT:
        msg = (
            f"document_end {document_end!r} is not among the tokenizer's special tokens, {list(specials.ids)}"
        )
        raise ValueError(msg)
    threads = check_num_threads(num_threads)
    source = sources.open_source(src)
    _refuse_to_replace(source, path)
    writer = TokenFileWriter(
        path,
        vocab_size=encoder.vocab_size,
        tokenizer=tokenizer,
        document_end=None if end_id is None else (document_end, end_id),
    )

    def encode(block: sources.Block) -> tuple[sources.Block, TokenIds]:
        ids = block.give(lambda text: encoder.encode_utf8(text, specials))
        block.drop()
        return block, ids

    def write(encoded: tuple[sources.Block, TokenIds]) -> None:
        block, ids = encoded
        writer.add(ids, begins_text=block.offset == 0)

    # Check sums are more than half of the work, and each of them can only be worked out from front to back.
    work = ordered_map(
        encode,
        source.blocks(encoder.cuts(specials), BLOCK_BYTES),
        threads,
        before=lambda block: writer.add_text(block.view),
        after=write,
    )
    with writer, closing(work) as written:
        for block, _ in written:
            if progress is not None:
                progress("encode", block.done, source.total)
        return writer.finish()


def _refuse_to_replace(source: sources.Source, dst: Path) -> None:
    """Refuse to write where the text is read, or over what is no file."""
    read = [os.fstat(file) if isinstance(file, int) else file.stat() for file in source.files]
    for target in token_file_paths(dst):
        if not target.exists():
            continue
        if any(os.path.samestat(target.stat(), status) for status in read):
            msg = f"{target} is the text, or part of it, and would be replaced: give dst another name"
            raise ValueError(msg)
        if not target.is_file() and not target.is_dir():  # a folder is refused by name later
            msg = f"{target} is no regular file and would be replaced: give dst another name"
            raise ValueError(msg)
