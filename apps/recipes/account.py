"""The command line of accounting, with what it may not import: plots, and a measurement of this machine."""

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from hornbook.accounting import missing_layer
from hornbook.accounting.__main__ import joined, make_parser, make_question, make_shape, report, show

from .console import say

if TYPE_CHECKING:
    from torch import Tensor


def account(description: str, arguments: Sequence[str]) -> int:
    """Do what the flags say.

    Args:
        description: The head of --help.
        arguments: The words after the program's name.

    Raises:
        ValueError: On flags that can't be used.
    """
    args = _parser(description).parse_args(joined(arguments))
    _check(args)
    if args.dry_run:
        _say_plan(args)
        return 0
    if args.calibrate:
        return calibrate()
    if args.measure:
        args.peak_flops_per_second = _measure(args.dtype)
    show(report(args))
    if args.plots is not None:
        from .accounting_plots import draw_all  # here: matplotlib takes a second to import

        shape = make_question(args, args.preset).shape
        for path in draw_all(shape, args.preset, args.batch_sizes, args.plots):
            say(str(path))
        if (missing := missing_layer(shape)) is not None:
            say(f"no memory_by_batch: hornbook.nn has no {missing}")
    return 0


def _check(args: argparse.Namespace) -> None:
    """Refuse what would fail, or mean nothing, after the tables are printed."""
    if args.plots is not None and args.preset is None:
        msg = "--plots needs a --preset, whose name stands above them"
        raise ValueError(msg)
    for size in args.batch_sizes:
        if size < 1:
            msg = f"--batch-sizes must be at least 1, got {size}"
            raise ValueError(msg)
    if args.measure and (args.hardware is not None or args.peak_flops_per_second is not None):
        msg = "--measure takes this machine's peak: without --hardware and --peak-flops-per-second"
        raise ValueError(msg)
    if args.measure and args.dtype not in ("fp32", "bf16"):
        msg = f"--measure multiplies in fp32 or bf16, got --dtype {args.dtype}"
        raise ValueError(msg)


def calibrate() -> int:
    """Print what CUDA takes besides a run's tensors: its context and libraries, and their workspaces.

    The device's bytes in use, less those that torch's allocator has reserved, are outside of it: context and
    libraries, and other processes. Within it, what is allocated but no tensor of ours is a workspace. What
    the allocator has reserved and doesn't use differs from run to run, and is left out.

    Raises:
        ValueError: If there is no GPU.
    """
    import torch  # here: it takes seconds, and most of what is asked does without

    if not torch.cuda.is_available():
        msg = "--calibrate measures what CUDA takes besides tensors: this machine has no CUDA device"
        raise ValueError(msg)
    tensors = _multiply_on_cuda()  # named until all is counted
    free, total = torch.cuda.mem_get_info()
    outside = total - free - torch.cuda.memory_reserved()
    workspaces = torch.cuda.memory_allocated() - sum(tensor.nbytes for tensor in tensors)
    say(f"{outside:,} bytes are in use outside of torch's allocator: CUDA, its libraries, other processes")
    say(f"workspaces within it take {workspaces:,} bytes")
    say(f"give both as --overhead {outside + workspaces}B")
    return 0


def _multiply_on_cuda() -> list["Tensor"]:
    """Multiply forward and backward, so that all is loaded; return the tensors that are left."""
    import torch

    side = torch.randn(4096, 4096, device="cuda", dtype=torch.bfloat16, requires_grad=True)
    (side @ side).sum().backward()  # type: ignore[no-untyped-call]
    torch.cuda.synchronize()
    assert side.grad is not None
    return [side, side.grad]


def _parser(description: str) -> argparse.ArgumentParser:
    parser = make_parser()
    parser.prog, parser.description, parser.epilog = "account.py", description, None
    more = parser.add_argument_group("this machine, and plots")
    more.add_argument(
        "--measure", action="store_true", help="take this machine's matrix products as the peak"
    )
    more.add_argument(
        "--calibrate", action="store_true", help="print what CUDA takes besides tensors, and stop"
    )
    more.add_argument("--plots", type=Path, metavar="DIR", help="draw PNG and SVG into DIR")
    more.add_argument("--batch-sizes", type=int, nargs="+", default=[1, 2, 4, 8], metavar="N")
    more.add_argument("--dry-run", action="store_true", help="print what would be done, and stop")
    return parser


def _say_plan(args: argparse.Namespace) -> None:
    """Print which shapes would be asked about, and what would be measured and written."""
    for name in args.compare or [args.preset]:
        say(f"{name or 'shape'}: {make_shape(args, name)}")
    say(f"tables: {', '.join(args.table or ['the usual ones'])}, as {args.format}")
    if args.measure or args.calibrate:
        say(f"would measure this machine: {'a matrix product, under a second' if args.measure else 'CUDA'}")
    if args.plots is not None:
        say(f"would write three plots, as PNG and SVG, into {args.plots}")


def _measure(dtype: str) -> float:
    from .device import choose_device, matmul_flops_per_second

    device = choose_device(None)
    precision = "bf16" if dtype == "bf16" else "fp32"
    speed = matmul_flops_per_second(device, precision, rows=2_048, inner=2_048, columns=2_048)  # type: ignore[arg-type]
    say(f"matrix products run at {speed / 1e9:,.0f} GFLOP/s on {device} in {precision}")
    return speed
