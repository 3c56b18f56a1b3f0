"""The accounting questions of Stanford CS336, assignment 1 (2025), answered in Markdown."""
# ruff: noqa: E501 -- paragraphs of Markdown stand on one line

from dataclasses import replace

from hornbook.accounting import (
    GPT2_LARGE,
    GPT2_MEDIUM,
    GPT2_SMALL,
    GPT2_XL,
    Attention,
    Shape,
    Share,
    StepSettings,
    find_hardware,
    format_bytes,
    forward_flops,
    forward_ledger,
    ledger_table,
    max_batch_size,
    num_parameters,
    parameter_ledger,
    table,
    training_flops,
    training_memory,
    training_time,
)

SIZES = {"small": GPT2_SMALL, "medium": GPT2_MEDIUM, "large": GPT2_LARGE, "XL": GPT2_XL}
LONG = replace(GPT2_XL, context_length=16_384)
_PARTS = {
    "projections": ("Q projection", "K, V projections", "output projection"),
    "scores and values": ("scores Q Kᵀ", "weighted values A V"),
    "feed-forward": ("feed-forward W1, W3", "feed-forward W2"),
    "head": ("output head",),
}


def answers() -> str:
    """Everything that `apps/answers.py` prints."""
    parts = (_parameters, _multiplies, _shares, _long_context, _adamw_memory, _adamw_flops, _days)
    return "\n\n".join(["# Accounting answers", _INTRODUCTION, *(part() for part in parts)])


_INTRODUCTION = """\
Printed by `uv run apps/answers.py`, and compared with it by a test. The shape is GPT-2 XL's on the assignment's
architecture: SwiGLU with d_ff = 4·d_model, no biases, untied head. One FLOP is one multiply or one add; causal
attention is not halved. GB is 10^9 bytes. Letters: V vocab_size, L num_layers, d d_model, h num_heads, f d_ff,
B batch_size, S sequence_length, T = B·S, P parameters."""


def _parameters() -> str:
    count = num_parameters(GPT2_XL)
    return (
        "## Parameters of GPT-2 XL's shape\n\n"
        f"P = 2·V·d + L·(4·d² + 3·d·f + 2·d) + d = {count:,}; in float32 4·P = {4 * count:,} bytes "
        f"({format_bytes(4 * count)}, {4 * count / 2**30:.2f} GiB). (The released GPT-2 XL has two matrices in its "
        "feed-forward part, biases, learned positions and a tied head: 1,557,611,200.)\n\n"
        + ledger_table(parameter_ledger(GPT2_XL), "markdown")
    )


def _multiplies() -> str:
    return (
        "## Matrix multiplies of a forward pass, one sequence of 1,024 tokens\n\n"
        f"A product of (m, n) and (n, p) takes 2·m·n·p FLOPs: {forward_flops(GPT2_XL):,} in all.\n\n"
        + ledger_table(forward_ledger(GPT2_XL), "markdown")
    )


def _shares() -> str:
    rows = [(name, forward_flops(shape), *_shares_of(shape)) for name, shape in SIZES.items()]
    return (
        "## Shares from small to XL\n\n"
        + table(("size", "FLOPs forward", *_PARTS), rows, "markdown")
        + "\n\nWith the width grow the projections and the feed-forward part, which are quadratic in d; the head and "
        "the scores, linear in d, lose."
    )


def _long_context() -> str:
    short, long = forward_flops(GPT2_XL), forward_flops(LONG)
    rows = [
        (f"{shape.context_length:,}", forward_flops(shape), *_shares_of(shape)) for shape in (GPT2_XL, LONG)
    ]
    return (
        "## XL with a context of 16,384\n\n"
        f"Sixteen times the tokens take 16 times the linear parts and 256 times the scores: {long / short:.2f} times "
        "the FLOPs.\n\n" + table(("context", "FLOPs forward", *_PARTS), rows, "markdown")
    )


def _adamw_memory() -> str:
    count = num_parameters(GPT2_XL)
    per_sequence, a = handout_activations(GPT2_XL), 16 * count
    handout = int((80e9 - a) // per_sequence)
    rows = [
        ("parameters", "4·P", 4 * count),
        ("gradients", "4·P", 4 * count),
        ("AdamW's two moments", "8·P", 8 * count),
        ("activations of one sequence", "4·B·(L·(8·S·d + 4·S·f + 2·h·S²) + S·d + 2·S·V)", per_sequence),
    ]
    variants: list[tuple[str, Attention, bool]] = [
        ("explicit attention", "explicit", False),
        ("fused attention", "fused", False),
        ("fused, checkpointing", "fused", True),
    ]
    tracked = []
    for name, attention, checkpointing in variants:
        how = StepSettings(attention=attention, checkpointing=checkpointing)
        memory = training_memory(GPT2_XL, how)
        tracked.append(
            (
                name,
                memory.saved_bytes,
                memory.peak_bytes,
                memory.peak_phase,
                max_batch_size(GPT2_XL, 80e9, how),
            )
        )
    return (
        "## Memory with AdamW, float32\n\n"
        + table(("what", "bytes", "for XL, B = 1"), rows, "markdown")
        + "\n\nThe activations are the handout's list: per block two norms (2·S·d), Q, K, V (3·S·d), Q Kᵀ and softmax "
        "(2·h·S²), the weighted sum and the output projection (2·S·d), W1, SiLU, W3 and their product (4·S·f), W2 "
        "(S·d); then the final norm (S·d), logits and cross-entropy (2·S·V).\n\n"
        f"Peak = {a:,} + {per_sequence:,}·B bytes = {a / 1e9:.2f} GB + {per_sequence / 1e9:.2f}·B GB, so at most "
        f"**B = {handout}** in 80 GB by the handout's sum.\n\n"
        "What `hornbook.nn` keeps is less, as it writes its backward passes by hand and never holds all logits; and "
        "gradients and activations never all meet, so the peak is no sum:\n\n"
        + table(
            ("hornbook.nn", "saved, one sequence", "peak, B = 1", "peak in", "largest B, 80 GB"),
            tracked,
            "markdown",
        )
    )


def _adamw_flops() -> str:
    count, forward = num_parameters(GPT2_XL), training_flops(GPT2_XL)
    return (
        "## FLOPs of an AdamW step\n\n"
        "m = β1·m + (1 - β1)·g: 3; v = β2·v + (1 - β2)·g²: 4; p = p - rate·m / (√v + ε): 5; p = p - lr·λ·p: 2. So "
        f"14·P = {14 * count:,}, {14 * count / forward:.2%} of forward and backward of one sequence "
        f"({forward:,})."
    )


def _days() -> str:
    time = training_time(
        GPT2_XL, hardware=find_hardware("a100"), dtype="fp32", mfu=0.5, num_steps=400_000, batch_size=1_024
    )
    return (
        "## Days on one A100 at 50 % MFU\n\n"
        f"400,000 steps of 1,024 sequences are {time.num_tokens:,} tokens. Backward is twice forward: "
        f"3 · {forward_flops(GPT2_XL):,} FLOPs a sequence, {time.flops:.4e} in all. At 0.5 · 19.5 TFLOP/s (float32) "
        f"that is {time.seconds:,.0f} s = **{time.seconds / 86_400:,.1f} days** "
        f"({time.seconds / 86_400 / 365.25:.1f} years), {time.seconds / 400_000:,.0f} s a step."
    )


def handout_activations(shape: Shape) -> int:
    """Bytes of the handout's list of activations, for one sequence of context length in float32."""
    s, d, f = shape.context_length, shape.d_model, shape.d_ff
    block = 8 * s * d + 4 * s * f + 2 * shape.num_heads * s * s
    return 4 * (shape.num_layers * block + s * d + 2 * s * shape.vocab_size)


def _shares_of(shape: Shape) -> list[Share]:
    rows = forward_ledger(shape)
    return [Share(sum(row.share for row in rows if row.operation in part)) for part in _PARTS.values()]
