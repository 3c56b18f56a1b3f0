"""softmax(Q Kᵀ / √k) V written out, in sizes: what it makes, keeps and lets go, forward and backward."""

from functools import partial

from ._layers import Model
from ._tape import Grads, Storage, Value
from .formulas import width_of_heads


def explicit_attention(model: Model, query: Value, key: Value, value: Value) -> Value:
    """Keeps exp(scores), under autocast twice, its sums, and the factors of the two products."""
    tape, width, shape = model.tape, model.width, model.shape
    heads = width_of_heads(shape)
    q, scores_size, sums_size = f"{width}·T·{heads}", "B·h·S²", "4·B·h·S"
    # Where heads of queries share one of keys, it is repeated for each, unless there is but one in the batch.
    repeats = shape.kv_heads != shape.num_heads and tape.value("B·g") > 1
    in_order = tape.value("B") == 1 or shape.num_heads == 1
    keep = partial(tape.keep, "attention")

    mask = tape.new("S²")
    stacked = tape.new(f"{2 * width}·T·g·k")  # keys and values in order
    scaled = tape.new(q)
    ordered = scaled if in_order else tape.new(q)
    keys = tape.new(q) if repeats else stacked
    kept = keep(scaled_queries=ordered)
    kept |= keep(repeated_keys=keys) if repeats else keep(keys_and_values=keys)
    scores = tape.new(f"{width}·{scores_size}")
    del scaled, ordered, keys
    bias = tape.new(f"{width}·S²")
    del bias
    wide = tape.new(f"4·{scores_size}") if width == 2 else scores
    shift = tape.new(sums_size)
    exps = tape.new(f"4·{scores_size}")
    sums, total = tape.new(sums_size), tape.new(sums_size)
    kept |= keep(exponentials=exps, sums=sums)
    del wide, shift, sums
    weights = tape.new(f"2·{scores_size}") if width == 2 else exps
    values = tape.new(q) if repeats else stacked
    kept |= keep(exponentials_in_bfloat16=weights, repeated_values=values)
    mixed = tape.new(q)
    del weights, values
    quotient = tape.new(f"4·T·{heads}")
    kept |= keep(weighted_values=mixed, clamped_sums=total)
    del mixed
    if width == 2:
        quotient = tape.new(q)
    del scores, exps, total, mask, stacked
    backward = partial(_backward, model, kept, repeats=repeats, in_order=in_order)
    node = tape.record([query.node, key.node, value.node], backward)
    del kept, backward
    merged = quotient if shape.num_heads == 1 else tape.new(q)  # heads side by side
    return Value(merged, width, node)


def _backward(model: Model, kept: dict[str, Storage], *, repeats: bool, in_order: bool) -> Grads:
    tape, width = model.tape, model.width
    heads = width_of_heads(model.shape)
    q, kv, scores_size, sums_size = f"{width}·T·{heads}", f"{width}·T·g·k", "B·h·S²", "4·B·h·S"
    wide: Storage | None = None
    if width == 2:
        wide = tape.new(f"4·T·{heads}")
        tape.gradient = None
    # The quotient of weighted values and sums.
    first, second, negative, product = (tape.new(f"4·T·{heads}") for _ in range(4))
    del first, second, negative
    grad_mixed = tape.new(f"4·T·{heads}")
    if width == 2:
        grad_mixed = tape.new(q)
    grad_total = tape.new(sums_size)
    del product, wide, kept["weighted_values"], kept["clamped_sums"]
    tape.gradient = None
    if not in_order:
        grad_mixed = tape.new(q)
    # The product of exponentials and values.
    grad_values = tape.new(q)
    grad_scores = tape.new(f"{width}·{scores_size}")
    del grad_mixed, kept["exponentials_in_bfloat16"], kept["repeated_values"]
    if repeats:
        grad_values = tape.new(kv)
    if width == 2:
        grad_scores = tape.new(f"4·{scores_size}")
    # What came by the sums, where they are not clamped, is added; then the exponential.
    mask = tape.new("B·h·S")
    grad_sums = tape.new(sums_size)
    del mask, grad_total, kept["sums"]
    grad_scores = tape.new(f"4·{scores_size}")
    del grad_sums
    grad_scores = tape.new(f"4·{scores_size}")
    del kept["exponentials"]
    if width == 2:
        grad_scores = tape.new(f"2·{scores_size}")
    # The product of queries and keys.
    grad_keys, grad_queries = tape.new(q), tape.new(q)
    del grad_scores
    kept.clear()
    if repeats:
        grad_keys = tape.new(kv)
    grad_queries = tape.new(q)  # divided by √k
    stacked = tape.new(f"{2 * width}·T·g·k")
    del grad_keys, grad_values
    return [grad_queries, stacked, stacked]
