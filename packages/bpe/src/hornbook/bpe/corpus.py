"""Encode a corpus into a token file: streaming, on several threads."""

import os
from contextlib import closing
from pathlib import Path

from . import sources
from .arguments import check_num_threads
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
    end_id = specials.ids.get(document_end)
    if end_id is None and document_end != END_OF_TEXT:
        msg = (
            f"document_end {document_end!r} is not among the tokenizer's special tokens, {list(specials.ids)}"
        )
        raise ValueError(msg)
    threads = check_num_threads(num_threads)
    _refuse_to_replace(src, path)
    source = sources.open_source(src)
    writer = TokenFileWriter(
        path,
        vocab_size=encoder.vocab_size,
        tokenizer=tokenizer,
        document_end=None if end_id is None else (document_end, end_id),
    )

    def encode(block: sources.Block) -> tuple[sources.Block, TokenIds]:
        block.check_utf8()
        return block, encoder.encode_utf8(block.text, specials)

    blocks = source.blocks(encoder.cuts(specials), BLOCK_BYTES)
    with writer, closing(ordered_map(encode, blocks, threads)) as results:
        for block, ids in results:
            writer.add(ids, block.text, begins_text=block.offset == 0)
            if progress is not None:
                progress("encode", block.done, source.total)
        return writer.finish()


def _refuse_to_replace(src: sources.InputPath, dst: Path) -> None:
    for path in src if isinstance(src, list | tuple) else [src]:
        if not isinstance(path, str | os.PathLike):
            continue
        for target in token_file_paths(dst):
            if target.exists() and os.path.exists(path) and target.samefile(path):  # noqa: PTH110 - text may be long
                msg = f"{target} is the text, or part of it, and would be replaced: give dst another name"
                raise ValueError(msg)
