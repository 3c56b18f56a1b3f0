"""The whole model and its loss in sizes, as `hornbook.nn` runs them."""

from functools import partial

from ._explicit_attention import explicit_attention
from ._layers import (
    Model,
    add,
    cast,
    embedding,
    fused_attention,
    learned_mix,
    linear,
    linears,
    rms_norm,
    rotate,
    silu,
    split_heads,
    squared_relu,
    swiglu,
)
from ._tape import Grads, Storage, Value
from .formulas import size_of_projection, width_of_heads

_STREAM = ("T·d", "T", "d")
_LOSS_SLICE = 2**18  # logits that become their gradient at a time, in whole rows


class FirstValue:
    """The values of the first layer, which it leaves for the others: there while a block may still run."""

    value: Value | None = None


def hidden(model: Model, *, checkpointing: bool) -> Value:
    """What the head sees: embedding, blocks, final norm."""
    shape = model.shape
    embedded = embedding(model, "lm_head" if shape.tied_embeddings else "token_embeddings")
    x = embedded
    tape = model.tape
    positions = tape.new("8·S")
    # Cosines and sines of these positions, for all layers.
    angles = [tape.new("2·S·k"), tape.new("2·S·k")] if shape.position == "rope" else []
    turns = [tape.new("4·S·k"), tape.new("4·S·k")] if shape.position == "rope" else []  # there and back
    first_value = FirstValue()
    for layer in range(shape.num_layers):
        run = partial(block, model, embedded, layer, first_value, turns, [positions, *angles])
        if checkpointing:
            tape.keep("checkpoint", positions=positions)
            # A bfloat16 copy of the gradient for the feed-forward part; a norm at the end comes before it.
            ahead = "2·T·d" if model.autocast and shape.norm != "post" else "0"
            x = tape.checkpoint(run, x, ahead)
        else:
            x = run(x)
    if shape.norm == "pre":
        x = rms_norm(model, x, "ln_final", "final norm", _STREAM)
    return x


def block(
    model: Model,
    embedded: Value,
    layer: int,
    first_value: FirstValue,
    turns: list[Storage],
    _: list[Storage],
    x: Value,
) -> Value:
    """Attention, then feed-forward, each around the residual stream.

    A checkpointed one holds what it is called with until it has run again.
    """
    if model.shape.embedding_shortcut:
        x = learned_mix(model, x, embedded, f"{layer}.embedding_shortcut", "embedding shortcut", "T·d")
    held = [x]  # named by those who call until they return
    attend = partial(attention, first_value=first_value, turns=turns)
    for part, number in ((attend, 1), (feed_forward, 2)):
        name, operation = f"{layer}.ln{number}", "norms of the block"
        if model.shape.norm == "pre":
            x = add(model, x, part(model, rms_norm(model, x, name, operation, _STREAM), layer), "T·d")
        else:
            x = add(model, x, part(model, x, layer), "T·d")
        if model.shape.norm == "post":
            x = rms_norm(model, x, name, operation, _STREAM)
        held.append(x)
    return x


def attention(model: Model, x: Value, layer: int, *, first_value: FirstValue, turns: list[Storage]) -> Value:
    """Projections, norms of queries and keys, RoPE, value residual, the kernel, the output projection."""
    shape, operation = model.shape, "Q, K, V projections"
    heads = width_of_heads(shape)
    sizes = "T·d", (f"T·{heads}", "T·g·k", "T·g·k"), (size_of_projection(shape), "d·g·k", "d·g·k")
    names = [f"{layer}.{name}" for name in "qkv"]
    query, key, value = (
        split_heads(model, made, size)
        for made, size in zip(linears(model, x, names, operation, sizes), sizes[1], strict=True)
    )
    if shape.qk_norm:
        q_sizes, kv_sizes = (f"T·{heads}", "B·h·S", "k"), ("T·g·k", "B·g·S", "k")
        copies = model.fused
        query = rms_norm(model, query, f"{layer}.q_norm", "norms of Q, K", q_sizes, copies=copies)
        key = rms_norm(model, key, f"{layer}.k_norm", "norms of Q, K", kv_sizes, copies=copies)
    if shape.position == "rope":
        query, key = rotate(model, query, turns, f"T·{heads}"), rotate(model, key, turns, "T·g·k")
    if shape.value_residual:
        if layer == 0:
            value = first_value.value = model.tape.stand_in(value, first_value.value)
        else:
            assert first_value.value is not None
            name = f"{layer}.value_residual"
            value = learned_mix(model, value, first_value.value, name, "value residual", "T·g·k")
    kernel = fused_attention if model.fused else explicit_attention
    mixed = kernel(model, query, key, value)
    back = (f"T·{heads}", "T·d", size_of_projection(shape))
    return linear(model, mixed, f"{layer}.output", "output projection", back)


def feed_forward(model: Model, x: Value, layer: int) -> Value:
    """SwiGLU, or two matrices around an activation."""
    up, down = ("T·d", "T·f", "d·f"), ("T·f", "T·d", "d·f")
    if model.shape.ffn == "swiglu":
        names, sizes = [f"{layer}.w1", f"{layer}.w3"], (up[0], up[1:2] * 2, up[2:] * 2)
        gate, gated = linears(model, x, names, "feed-forward W1, W3", sizes)
        inner = swiglu(model, gate, gated, "T·f")
        del gate, gated  # SwiGLU holds no name for its inner tensors
    else:
        gate = linear(model, x, f"{layer}.w1", "feed-forward W1, W3", up)
        activation = silu if model.shape.ffn == "silu" else squared_relu
        inner = activation(model, gate, "T·f")
        x = gate  # MLP none either
        del gate
    return linear(model, inner, f"{layer}.w2", "feed-forward W2", down)


def chunked_loss(model: Model, x: Value, *, chunk_tokens: int, softcap: bool) -> Value:
    """`linear_cross_entropy`: each chunk's logits become its gradient, in the forward pass."""
    tape, width = model.tape, model.width
    head = tape.new("2·V·d") if model.autocast else None
    room = tape.new(f"{width}·{min(chunk_tokens, tape.value('T'))}·V")
    rows = cast(model, x, width, "T·d").storage
    pieces = []
    grad_weight: Storage | None = None
    losses: list[Storage] = []
    slopes: Storage | None = None
    sizes, tokens_between = _chunks(tape.value("T"), chunk_tokens)
    for index, size in enumerate(sizes):
        if index == 2:
            pieces.append(tape.new(f"{width}·{tokens_between}·d"))
        losses = losses[-1:]  # the last slice's have a name still
        losses, slopes = _losses_and_slopes(model, room, size, softcap=softcap)
        joined = tape.new(f"4·{size}")
        del joined
        if model.autocast:
            slopes = tape.new(f"2·{size}·V")
        pieces.append(tape.new(f"{width}·{size}·d"))
        if grad_weight is None:
            grad_weight = tape.new(f"{width}·V·d")
            if model.autocast:
                grad_weight = tape.new("4·V·d")
        elif model.autocast:
            product = tape.new("2·V·d")
            del product
    joined = tape.new(f"{width}·T·d")
    grad_hidden = tape.new("4·T·d") if width == 2 else joined
    del head, room, rows, pieces, losses, slopes, joined
    assert grad_weight is not None
    kept = tape.keep(
        "head and loss", gradient_of_the_input=grad_hidden, gradient_of_the_head=grad_weight
    ).values()
    del grad_hidden, grad_weight

    def backward() -> Grads:
        return [tape.new("4·T·d"), tape.new("4·V·d")]

    leaf = model.parameter("lm_head")
    return Value(tape.new("4"), 4, tape.record([x.node, leaf], backward, kept))


def _chunks(num_tokens: int, chunk_tokens: int) -> tuple[list[int], int]:
    """Tokens of the first two chunks and the last ones, and of all between, which are as the second is."""
    full, rest = divmod(num_tokens, chunk_tokens)
    between = max(0, full - 4)
    return [chunk_tokens] * (full - between) + ([rest] if rest else []), between * chunk_tokens


def _losses_and_slopes(
    model: Model, room: Storage, size: int, *, softcap: bool
) -> tuple[list[Storage], Storage]:
    """The losses of a chunk and its gradient; in the room for its logits, unless they are bent or cast."""
    tape, rows, numbers = model.tape, size, f"{size}·V"
    if not softcap and not model.autocast:  # slice by slice; this is the last one
        rows = min(size, max(1, _LOSS_SLICE // tape.value("V")))
    column = f"4·{rows}"
    losses = [tape.new(f"4·{size - rows}")]
    logits = _logits(model, room, numbers, softcap=softcap)
    slope = _slope(model, numbers) if softcap else None
    counts, shift = tape.new(str(rows)), tape.new(column)
    at_targets = tape.new(column)
    target_logits = tape.new(column)
    del at_targets
    sums, log_sums, all_losses, factors = (tape.new(column) for _ in range(4))
    ones, less_ones = tape.new(column), tape.new(column)
    del ones, less_ones
    losses.append(tape.new(column))
    del slope, counts, shift, target_logits, sums, log_sums, all_losses, factors
    return losses, logits


def _logits(model: Model, room: Storage, numbers: str, *, softcap: bool) -> Storage:
    """The logits of a chunk in float32; in the room for them, unless they are bent or cast."""
    tape, width = model.tape, model.width
    logits = room
    if softcap:
        quotient = tape.new(f"{width}·{numbers}")
        bent = tape.new(f"{width}·{numbers}")
        del quotient
        logits = tape.new(f"{width}·{numbers}")
        del bent
    return logits if width == 4 else tape.new(f"4·{numbers}")


def _slope(model: Model, numbers: str) -> Storage:
    quotient = model.tape.new(f"4·{numbers}")
    square = model.tape.new(f"4·{numbers}")
    del quotient
    slope = model.tape.new(f"4·{numbers}")
    del square
    return slope
