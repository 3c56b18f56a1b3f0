"""`python -m hornbook.accounting --preset tinystories`: what a shape costs."""

import argparse
import json
import os
import re
import sys
from collections.abc import Sequence
from dataclasses import asdict, fields
from typing import Any, get_args

from . import (
    HARDWARE,
    PRESETS,
    Attention,
    DType,
    FeedForward,
    Norm,
    Optimizer,
    Position,
    Precision,
    Shape,
    StepSettings,
    TableFormat,
    find_hardware,
    parse_bytes,
)
from ._arguments import NearestParser
from ._checks import require_positive_int
from .figures import Question, comparison, sweep
from .hardware import Hardware
from .reports import SECTIONS, as_data, remark, run_line, written

LEGEND = (
    "V vocab_size, L num_layers, d d_model, h num_heads, g num_kv_heads (None: h), "
    "k head_dim (None: d/h), f d_ff, C context_length, B batch_size, S sequence_length, T = B·S"
)
SIZES = ("vocab_size", "context_length", "num_layers", "d_model", "num_heads", "d_ff")
SWITCHES = ("tied_embeddings", "qk_norm", "value_residual", "embedding_shortcut", "biases")
EXAMPLES = """\
examples:
  python -m hornbook.accounting --preset gpt2-xl
  python -m hornbook.accounting --preset gpt2-xl --table memory --budget 80GB --attention explicit
  python -m hornbook.accounting --preset gpt2-xl --table training --format latex
  python -m hornbook.accounting --preset gpt2-xl --hardware a100 --mfu 0.5 --num-tokens 419430400000
  python -m hornbook.accounting --preset gpt2-xl --table utilization --hardware h100 --tokens-per-second 2e4
  python -m hornbook.accounting --preset gpt2-small --sweep context_length=1024,4096,16384 --format csv
  python -m hornbook.accounting --compare gpt2-small gpt2-xl --budget 24GiB
"""


def make_parser() -> argparse.ArgumentParser:
    """The command line."""
    parser = NearestParser(
        prog="python -m hornbook.accounting",
        usage="%(prog)s [--preset NAME] [flags of shape, step, run and output]",
        description="Parameters, FLOPs, memory and time of a Transformer. A preset gives the shape, "
        "flags change it; without a preset, all sizes must be given.",
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    shape = parser.add_argument_group("shape")
    shape.add_argument("--preset", choices=PRESETS)
    for name in SIZES:
        shape.add_argument(_flag(name), type=int, metavar="N")
    shape.add_argument("--num-kv-heads", type=int, metavar="N", help="default: as many as --num-heads")
    shape.add_argument("--head-dim", type=int, metavar="N", help="default: d_model / num_heads")
    shape.add_argument("--norm", choices=get_args(Norm))
    shape.add_argument("--position", choices=get_args(Position))
    shape.add_argument("--ffn", choices=get_args(FeedForward))
    for name in SWITCHES:
        shape.add_argument(_flag(name), action=argparse.BooleanOptionalAction)
    step = parser.add_argument_group("training step")
    step.add_argument("--batch-size", type=int, default=1, metavar="N", help="sequences (default: 1)")
    step.add_argument("--sequence-length", type=int, metavar="N", help="tokens (default: context length)")
    step.add_argument("--precision", choices=get_args(Precision), default="fp32")
    step.add_argument("--attention", choices=get_args(Attention), default="fused")
    step.add_argument("--optimizer", choices=get_args(Optimizer), default="adamw")
    step.add_argument("--checkpointing", action="store_true", help="each block keeps its input alone")
    step.add_argument("--causal-half", action="store_true", help="leave the masked half of the scores out")
    step.add_argument("--budget", metavar="BYTES", help="memory, such as 80GB or 80GiB")
    step.add_argument("--overhead", metavar="BYTES", help="of the device, besides tensors")
    run = parser.add_argument_group("run")
    run.add_argument("--num-steps", type=int, metavar="N", help="optimizer steps")
    run.add_argument("--num-tokens", type=int, metavar="N", help="tokens of the whole run, for --num-steps")
    run.add_argument("--hardware", metavar="NAME", help=", ".join(HARDWARE))
    run.add_argument("--dtype", choices=get_args(DType), default="bf16", help="of the peak (default: bf16)")
    run.add_argument("--peak-flops-per-second", type=float, metavar="X", help="for --hardware, e.g. 989e12")
    run.add_argument("--mfu", type=float, metavar="X", help="share of the peak that is reached, e.g. 0.4")
    run.add_argument("--tokens-per-second", type=float, metavar="X", help="measured, for utilization")
    run.add_argument("--num-devices", type=int, default=1, metavar="N")
    run.add_argument("--cost-per-device-hour", type=float, metavar="X")
    output = parser.add_argument_group("output")
    output.add_argument("--table", choices=SECTIONS, action="append", help="default: parameters, forward")
    output.add_argument("--format", choices=get_args(TableFormat), default="text")
    output.add_argument("--sweep", metavar="FIELD=A,B,…", help="figures for each value of a field")
    output.add_argument("--compare", nargs=2, choices=PRESETS, metavar=("A", "B"), help="two presets")
    return parser


def make_shape(args: argparse.Namespace, preset: str | None) -> Shape:
    """The preset with the flags that were given."""
    given = {f.name: getattr(args, f.name) for f in fields(Shape) if getattr(args, f.name) is not None}
    settings = (asdict(PRESETS[preset]) if preset else {}) | given
    missing = [_flag(name) for name in SIZES if name not in settings]
    if missing:
        msg = f"without --preset, give also {', '.join(missing)}"
        raise ValueError(msg)
    return Shape(**settings)


def make_question(args: argparse.Namespace, preset: str | None) -> Question:
    """What the flags ask of a shape."""
    device: Hardware | None = None
    if args.hardware is not None and args.peak_flops_per_second is not None:
        msg = f"give either --hardware or --peak-flops-per-second, got {args.hardware} as well"
        raise ValueError(msg)
    if args.hardware is not None:
        device = find_hardware(args.hardware)
    elif args.peak_flops_per_second is not None:
        peak = {args.dtype: args.peak_flops_per_second}
        device = Hardware(
            name="your device", peak_flops_per_second=peak, memory_bytes=0, bytes_per_second=0, source="you"
        )
    swept = swept_field(args.sweep)[0] if args.sweep else None
    of_device = {"roofline", "utilization"} & {*(args.table or ())} or args.tokens_per_second is not None
    has_device, has_mfu = device is not None or swept == "hardware", args.mfu is not None or swept == "mfu"
    if has_mfu != has_device and not (of_device and has_device):
        msg = "--peak-flops-per-second or --hardware, and --mfu, go together"
        raise ValueError(msg)
    if args.tokens_per_second is not None and not has_device:
        msg = "--tokens-per-second is measured against a peak: give --hardware or --peak-flops-per-second"
        raise ValueError(msg)
    if args.cost_per_device_hour is not None and not has_mfu:
        msg = "--cost-per-device-hour is the price of a time: give --hardware and --mfu"
        raise ValueError(msg)
    for name in ("num_steps", "num_tokens", "num_devices"):
        if getattr(args, name) is not None:
            require_positive_int(name, getattr(args, name))
    if args.num_steps is not None and args.num_tokens is not None:
        msg = f"give either --num-steps or --num-tokens, got {args.num_steps} and {args.num_tokens}"
        raise ValueError(msg)
    return Question(
        shape=make_shape(args, preset),
        settings=StepSettings(
            precision=args.precision,
            attention=args.attention,
            checkpointing=args.checkpointing,
            optimizer=args.optimizer,
            overhead_bytes=0 if args.overhead is None else parse_bytes(args.overhead),
        ),
        batch_size=args.batch_size,
        sequence_length=args.sequence_length,
        budget_bytes=None if args.budget is None else parse_bytes(args.budget),
        hardware=device,
        dtype=args.dtype,
        mfu=args.mfu,
        num_steps=args.num_steps,
        num_tokens=args.num_tokens,
        num_devices=args.num_devices,
        cost_per_device_hour=args.cost_per_device_hour,
        tokens_per_second=args.tokens_per_second,
        causal_half=args.causal_half,
    )


def report(args: argparse.Namespace) -> str:
    """Everything that is printed."""
    if args.compare:
        if args.preset or args.sweep or args.table:
            msg = "--compare sets two presets side by side: without --preset, --sweep and --table"
            raise ValueError(msg)
        return comparison({name: make_question(args, name) for name in args.compare}, args.format)
    question = make_question(args, args.preset)
    if args.sweep:
        if args.table:
            msg = f"--sweep has figures of its own: without --table, got --table {args.table[0]}"
            raise ValueError(msg)
        return sweep(question, *swept_field(args.sweep), args.format)
    names = args.table or ["parameters", "forward"]
    if not args.table:
        asked = {"memory": args.budget, "utilization": args.tokens_per_second}
        names += [name for name, flag in asked.items() if flag is not None]
    if args.format == "json":
        return json.dumps(as_data(question, names), indent=2, ensure_ascii=False)
    if args.format == "csv" and len(names) > 1:
        msg = "CSV is one table: choose it by --table"
        raise ValueError(msg)
    lines = [*written(question, names, args.format)]
    if args.format != "csv":
        described = " ".join(f"{name}={value}" for name, value in asdict(question.shape).items())
        line = run_line(question)
        head = [remark(text, args.format) for text in (described, LEGEND)]
        lines = [*head, "", *lines[:-1], *([remark(line, args.format)] if line else [])]
    return "\n".join(lines)


def swept_field(words: str) -> tuple[str, list[Any]]:
    """The field of a sweep, by its name or its flag's, and its values."""
    name, _, values = words.partition("=")
    if not values:
        msg = f"--sweep is a field and its values, such as context_length=1024,4096, got {words!r}"
        raise ValueError(msg)
    name = name.removeprefix("--").replace("-", "_")
    field = {"budget": "budget_bytes", "overhead": "overhead_bytes"}.get(name, name)
    return field, [_value(field, text) for text in values.split(",")]


def _value(field: str, text: str) -> Any:
    """What a word of a sweep means: a number, a bool, None or the word."""
    known: dict[str, Any] = {"true": True, "false": False}
    if field not in ("norm", "position"):  # there it is a choice
        known["none"] = None
    for number in (int, float):
        try:
            return number(text)
        except ValueError:
            continue
    return known.get(text.lower(), text)


def _flag(name: str) -> str:
    return f"--{name.replace('_', '-')}"


def main(argv: Sequence[str] | None = None) -> None:
    """Print what was asked for, or say what is wrong with the flags and exit with status 2."""
    parser = make_parser()
    args = parser.parse_args(joined(sys.argv[1:] if argv is None else argv))
    try:
        text = report(args)
    except (ValueError, TypeError) as error:
        parser.error(str(error))
    show(text)


def show(text: str) -> None:
    """Print it; a reader that has enough, such as `head`, is no error."""
    try:
        print(text, flush=True)
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def joined(argv: Sequence[str]) -> list[str]:
    """The words with a negative number as part of its flag: argparse takes -80GB for another flag."""
    words: list[str] = []
    for word in argv:
        if words and words[-1].startswith("--") and re.match(r"-\.?\d", word):
            words[-1] += f"={word}"
        else:
            words.append(word)
    return words


if __name__ == "__main__":
    main()
