"""Where FLOPs and bytes go, drawn: by model size, by context length, by batch."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import matplotlib

matplotlib.use("Agg")  # files only: a machine without a screen draws as well

from matplotlib.figure import Figure

from hornbook.accounting import (
    GPT2_LARGE,
    GPT2_MEDIUM,
    GPT2_SMALL,
    GPT2_XL,
    Shape,
    StepSettings,
    forward_ledger,
    missing_layer,
    training_memory,
)
from hornbook.trainer import atomic_file

SIZES = {"small": GPT2_SMALL, "medium": GPT2_MEDIUM, "large": GPT2_LARGE, "XL": GPT2_XL}
CONTEXTS = (512, 1_024, 2_048, 4_096, 8_192, 16_384, 32_768)
PARTS: Mapping[str, tuple[str, ...]] = {
    "projections": ("Q projection", "K, V projections", "output projection"),
    "scores and values": ("scores Q Kᵀ", "weighted values A V"),
    "feed-forward": ("feed-forward W1", "feed-forward W1, W3", "feed-forward W2"),
    "head": ("output head",),
}
_COLOURS = ("#9ab6d6", "#b3341f", "#4c7a5d", "#d9b45b")
HOWS = {
    "explicit attention": StepSettings(attention="explicit"),
    "fused": StepSettings(),
    "fused, bf16": StepSettings(precision="bf16"),
    "fused, checkpointing": StepSettings(checkpointing=True),
}


def shares(shape: Shape) -> list[float]:
    """The share of each of `PARTS` in a forward pass over the context."""
    rows = forward_ledger(shape)
    return [sum(row.share for row in rows if row.operation in part) for part in PARTS.values()]


def draw_all(shape: Shape, name: str, batch_sizes: Sequence[int], directory: Path) -> list[Path]:
    """Draw `flops_by_size`, `flops_by_context` and, where it is known, `memory_by_batch` as PNG and SVG.

    Args:
        shape: Whose context and batch are varied.
        name: What it is called.
        batch_sizes: For the memory.
        directory: Where the files go; made if it is not there.

    Returns:
        The files.
    """
    directory.mkdir(parents=True, exist_ok=True)
    by_size = {size: shares(one) for size, one in SIZES.items()}
    by_context = {f"{seq:,}": shares(replace(shape, context_length=seq)) for seq in CONTEXTS}
    figures = {
        "flops_by_size": _bars(by_size, "GPT-2's sizes, context 1,024"),
        "flops_by_context": _bars(by_context, f"{name}, by context length"),
    }
    if missing_layer(shape) is None:
        figures["memory_by_batch"] = _memory(shape, name, batch_sizes)
    return [path for stem, figure in figures.items() for path in _save(figure, directory / stem)]


def _bars(columns: Mapping[str, Sequence[float]], title: str) -> Figure:
    figure = Figure(figsize=(6, 4), layout="constrained")
    axes = figure.subplots()
    bottoms = [0.0] * len(columns)
    for part, (label, colour) in enumerate(zip(PARTS, _COLOURS, strict=True)):
        heights = [100 * column[part] for column in columns.values()]
        axes.bar(list(columns), heights, bottom=bottoms, label=label, color=colour)
        bottoms = [bottom + height for bottom, height in zip(bottoms, heights, strict=True)]
    axes.set_ylabel("share of the forward FLOPs, %")
    axes.set_title(title, fontsize=11)
    figure.legend(loc="outside lower center", ncols=len(PARTS), frameon=False)
    return figure


def _memory(shape: Shape, name: str, batch_sizes: Sequence[int]) -> Figure:
    figure = Figure(figsize=(6, 4), layout="constrained")
    axes = figure.subplots()
    for (label, how), colour in zip(HOWS.items(), _COLOURS, strict=True):
        peaks = [training_memory(shape, how, batch_size=size).peak_bytes / 1e9 for size in batch_sizes]
        axes.plot(batch_sizes, peaks, marker="o", markersize=3, label=label, color=colour)
    axes.set_xlabel("batch, sequences")
    axes.set_ylabel("peak memory of a training step, GB")
    axes.set_title(f"{name}, context {shape.context_length:,}", fontsize=11)
    axes.set_ylim(bottom=0)
    axes.grid(alpha=0.25)
    axes.legend(frameon=False)
    return figure


def _save(figure: Figure, stem: Path) -> list[Path]:
    draw: Callable[..., None] = figure.savefig
    paths = [stem.with_suffix(".png"), stem.with_suffix(".svg")]
    for path in paths:
        kind = path.suffix[1:]
        with atomic_file(path) as file:
            # No date in the metadata: the same figures give the same file.
            draw(file, format=kind, dpi=150, metadata={"Date": None} if kind == "svg" else None)
    return paths
