"""`python -m hornbook.accounting --preset tinystories`: the ledgers of a shape."""

import argparse
from collections.abc import Sequence
from dataclasses import asdict, fields
from typing import get_args

from . import (
    PRESETS,
    FeedForward,
    Norm,
    Position,
    Shape,
    format_count,
    format_flops,
    format_seconds,
    forward_flops,
    forward_ledger,
    ledger_table,
    num_non_embedding_parameters,
    num_parameters,
    parameter_ledger,
    training_flops,
    training_seconds,
)

LEGEND = (
    "V vocab_size, L num_layers, d d_model, h num_heads, g num_kv_heads (None: h), k = d/h, f d_ff, "
    "B batch_size, S sequence_length, T = B·S"
)
SIZES = ("vocab_size", "context_length", "num_layers", "d_model", "num_heads", "d_ff")
SWITCHES = ("tied_embeddings", "qk_norm", "value_residual", "embedding_shortcut", "biases")


def make_parser() -> argparse.ArgumentParser:
    """The command line."""
    parser = argparse.ArgumentParser(
        prog="python -m hornbook.accounting",
        description="Parameters, FLOPs and time of a Transformer. A preset gives the shape, flags change it; "
        "without a preset, all sizes must be given.",
    )
    shape = parser.add_argument_group("shape")
    shape.add_argument("--preset", choices=PRESETS)
    for name in SIZES:
        shape.add_argument(_flag(name), type=int, metavar="N")
    shape.add_argument("--num-kv-heads", type=int, metavar="N", help="default: as many as --num-heads")
    shape.add_argument("--norm", choices=get_args(Norm))
    shape.add_argument("--position", choices=get_args(Position))
    shape.add_argument("--ffn", choices=get_args(FeedForward))
    for name in SWITCHES:
        shape.add_argument(_flag(name), action=argparse.BooleanOptionalAction)
    run = parser.add_argument_group("run")
    run.add_argument("--batch-size", type=int, default=1, metavar="N", help="sequences (default: 1)")
    run.add_argument("--sequence-length", type=int, metavar="N", help="tokens (default: context length)")
    run.add_argument("--num-steps", type=int, default=1, metavar="N", help="optimizer steps (default: 1)")
    run.add_argument("--peak-flops-per-second", type=float, metavar="X", help="device peak, e.g. 989e12")
    run.add_argument("--mfu", type=float, metavar="X", help="share of the peak that is reached, e.g. 0.4")
    return parser


def make_shape(args: argparse.Namespace) -> Shape:
    """The preset with the flags that were given."""
    given = {f.name: getattr(args, f.name) for f in fields(Shape) if getattr(args, f.name) is not None}
    settings = (asdict(PRESETS[args.preset]) if args.preset else {}) | given
    missing = [_flag(name) for name in SIZES if name not in settings]
    if missing:
        msg = f"without --preset, give also {', '.join(missing)}"
        raise ValueError(msg)
    return Shape(**settings)


def _flag(name: str) -> str:
    return f"--{name.replace('_', '-')}"


def report(args: argparse.Namespace) -> str:
    """Everything that is printed."""
    shape = make_shape(args)
    if args.num_steps < 1:
        msg = f"num_steps must be at least 1, got {args.num_steps}"
        raise ValueError(msg)
    if (args.mfu is None) != (args.peak_flops_per_second is None):
        msg = "--peak-flops-per-second and --mfu go together"
        raise ValueError(msg)
    size = {"batch_size": args.batch_size, "sequence_length": args.sequence_length}
    num_tokens = args.num_steps * args.batch_size * (args.sequence_length or shape.context_length)
    run_flops = args.num_steps * training_flops(shape, **size)
    total, without_embedding = num_parameters(shape), num_non_embedding_parameters(shape)
    forward, both = forward_flops(shape, **size), training_flops(shape, **size)
    lines = [
        " ".join(f"{name}={value}" for name, value in asdict(shape).items()),
        LEGEND,
        "",
        ledger_table(parameter_ledger(shape)),
        f"{format_count(total)} parameters, {format_count(without_embedding)} without embedding and head",
        "",
        ledger_table(forward_ledger(shape, **size)),
        f"forward {format_flops(forward)}, forward and backward {format_flops(both)}",
        "(matrix multiplies alone, 2 per multiply-add, causal attention not halved)",
    ]
    if args.num_steps > 1 or args.mfu is not None:
        lines.append(
            f"{args.num_steps:,} steps: {format_count(num_tokens)} tokens, {format_flops(run_flops)}"
        )
    if args.mfu is not None:
        seconds = training_seconds(run_flops, peak_flops_per_second=args.peak_flops_per_second, mfu=args.mfu)
        lines[-1] += f", {format_seconds(seconds)}"
    return "\n".join(lines)


def main(argv: Sequence[str] | None = None) -> None:
    """Print the ledgers, or say what is wrong with the flags and exit with status 2."""
    parser = make_parser()
    args = parser.parse_args(argv)
    try:
        text = report(args)
    except ValueError as error:
        parser.error(str(error))
    print(text)


if __name__ == "__main__":
    main()
