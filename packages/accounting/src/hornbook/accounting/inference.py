"""What it costs to read a prompt and to write token by token, with keys and values kept."""

from ._checks import require_positive_int, require_whole
from .flops import OperationRow, products, with_shares
from .formulas import evaluate, shape_symbols
from .shape import TransformerShape, checked


def cached_ledger(
    shape: TransformerShape,
    *,
    batch_size: int = 1,
    new_tokens: int,
    cached_tokens: int = 0,
    scored_tokens: int | None = None,
) -> tuple[OperationRow, ...]:
    """Every matrix multiply of a pass over new tokens, with the keys and values of others in a cache.

    Each new token's query meets all N = new_tokens + cached_tokens keys, those that causality masks too.

    Args:
        shape: A model's config or a `Shape`.
        batch_size: Sequences, B.
        new_tokens: Tokens of each sequence that go through the model, S.
        cached_tokens: Tokens of each sequence before them.
        scored_tokens: Positions of each sequence that get logits, R; None: all new ones. With 0 the head
            does not run.

    Raises:
        ValueError: If the shape is impossible, a number out of range, or the tokens exceed the context.
        TypeError: If a number is not an int.

    Example:
        >>> from hornbook.accounting import GPT2_XL
        >>> rows = cached_ledger(GPT2_XL, new_tokens=1, cached_tokens=1023)
        >>> print(rows[2].formula, rows[2].flops, sum(row.flops for row in rows))
        2·L·B·S·N·d 157286400 4407555200
    """
    shape = checked(shape)
    require_positive_int("batch_size", batch_size)
    require_positive_int("new_tokens", new_tokens)
    require_whole("cached_tokens", cached_tokens)
    scored = new_tokens if scored_tokens is None else scored_tokens
    require_whole("scored_tokens", scored)
    if scored > new_tokens:
        msg = f"scored_tokens must not exceed new_tokens, got {scored} and {new_tokens}"
        raise ValueError(msg)
    keys = new_tokens + cached_tokens
    if keys > shape.context_length:
        msg = (
            f"the tokens must not exceed context_length, got {cached_tokens} cached + {new_tokens} new and "
            f"{shape.context_length}"
        )
        raise ValueError(msg)
    symbols = shape_symbols(shape) | {
        "B": batch_size,
        "S": new_tokens,
        "T": batch_size * new_tokens,
        "N": keys,
        "R": scored,
    }
    kinds = products(shape, scores="S·N", logits="B·R")
    return with_shares(product.row("forward", symbols) for product in (kinds if scored else kinds[:-1]))


def prefill_ledger(
    shape: TransformerShape, *, batch_size: int = 1, prompt_tokens: int
) -> tuple[OperationRow, ...]:
    """Every matrix multiply that reads a prompt and scores the token after it: logits of one position.

    Args:
        shape: A model's config or a `Shape`.
        batch_size: Prompts of one length, B.
        prompt_tokens: Tokens of each, S.

    Raises:
        ValueError: As `cached_ledger`.
        TypeError: If a number is not an int.

    Example:
        >>> from hornbook.accounting import GPT2_XL
        >>> sum(row.flops for row in prefill_ledger(GPT2_XL, prompt_tokens=1024))
        4348815209600
    """
    return cached_ledger(shape, batch_size=batch_size, new_tokens=prompt_tokens, scored_tokens=1)


def decode_ledger(
    shape: TransformerShape, *, batch_size: int = 1, cached_tokens: int
) -> tuple[OperationRow, ...]:
    """Every matrix multiply that takes one more token and scores the next.

    Args:
        shape: A model's config or a `Shape`.
        batch_size: Sequences, B.
        cached_tokens: Tokens whose keys and values are there already.

    Raises:
        ValueError: As `cached_ledger`.
        TypeError: If a number is not an int.

    Example:
        >>> from hornbook.accounting import GPT2_XL
        >>> sum(row.flops for row in decode_ledger(GPT2_XL, cached_tokens=1023))
        4407555200
    """
    return cached_ledger(shape, batch_size=batch_size, new_tokens=1, cached_tokens=cached_tokens)


def generation_flops(
    shape: TransformerShape, *, batch_size: int = 1, prompt_tokens: int, new_tokens: int
) -> int:
    """Count the FLOPs of continuing prompts, as `hornbook.nn` does it.

    All but the last token of the prompt fill the cache without logits; then each pass takes the newest token
    and scores the next, `new_tokens` times. The text stays within the context.

    Args:
        shape: A model's config or a `Shape`.
        batch_size: Prompts of one length, B.
        prompt_tokens: Tokens of each.
        new_tokens: Tokens that are written for each.

    Raises:
        ValueError: If the shape is impossible, a number not positive, or the text longer than the context.
        TypeError: If a number is not an int.

    Example:
        >>> from hornbook.accounting import TINYSTORIES
        >>> generation_flops(TINYSTORIES, prompt_tokens=16, new_tokens=100)
        3943424000
    """
    require_positive_int("prompt_tokens", prompt_tokens)
    require_positive_int("new_tokens", new_tokens)
    first = prompt_tokens - 1
    rows: list[OperationRow] = []
    if first > 0:
        rows += cached_ledger(shape, batch_size=batch_size, new_tokens=first, scored_tokens=0)
    for cached in range(first, first + new_tokens):
        rows += decode_ledger(shape, batch_size=batch_size, cached_tokens=cached)
    return sum(row.flops for row in rows)


KV_CACHE = "2·L·B·N·g·k"
"""Numbers in a cache of N tokens: a key and a value per layer and head (Shazeer, 2019)."""


def kv_cache_bytes(
    shape: TransformerShape, *, batch_size: int = 1, num_tokens: int | None = None, bytes_per_number: int = 4
) -> int:
    """Count the bytes of a cache of keys and values: 2·L·B·N·g·k numbers.

    Args:
        shape: A model's config or a `Shape`.
        batch_size: Sequences, B.
        num_tokens: Tokens that it has room for, N; None: the context.
        bytes_per_number: 4 for float32, 2 for bfloat16.

    Raises:
        ValueError: If the shape is impossible or a number not positive.
        TypeError: If a number is not an int.

    Example:
        >>> from hornbook.accounting import LLAMA3_8B
        >>> kv_cache_bytes(LLAMA3_8B, bytes_per_number=2) / 2**30
        1.0
    """
    shape = checked(shape)
    num_tokens = shape.context_length if num_tokens is None else num_tokens
    for name, value in (("batch_size", batch_size), ("num_tokens", num_tokens)):
        require_positive_int(name, value)
    require_positive_int("bytes_per_number", bytes_per_number)
    return bytes_per_number * evaluate(KV_CACHE, shape_symbols(shape) | {"B": batch_size, "N": num_tokens})
