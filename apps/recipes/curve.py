"""The learning curve of a run, by step and by wall clock, as PNG and SVG."""

from pathlib import Path

import matplotlib

matplotlib.use("Agg")  # files only: a machine without a screen draws as well

from matplotlib.figure import Figure

from hornbook.trainer import Row, atomic_file, read_rows

_COLUMN = {name: index for index, name in enumerate(Row.__dataclass_fields__)}


def draw_curve(metrics: Path, directory: Path, title: str) -> None:
    """Draw `curve.png` and `curve.svg` from a run's metrics.

    Args:
        metrics: The CSV file of the run.
        directory: Where the two files go.
        title: Stands above both panels; says which text it was.
    """
    rows = read_rows(metrics)
    train = [(int(r[0]), float(r[_COLUMN["wallclock_time"]]), float(r[_COLUMN["train_loss"]])) for r in rows]
    valid = [
        (int(r[0]), float(r[_COLUMN["wallclock_time"]]), float(r[_COLUMN["val_loss"]]))
        for r in rows
        if r[_COLUMN["val_loss"]]
    ]
    figure = Figure(figsize=(10, 4), layout="constrained")
    figure.suptitle(title, fontsize=11)
    left, right = figure.subplots(1, 2, sharey=True)
    for axes, column, label in ((left, 0, "step"), (right, 1, "wall clock, seconds")):
        axes.plot(
            [r[column] for r in train],
            [r[2] for r in train],
            color="#9ab6d6",
            linewidth=0.8,
            label="training",
        )
        axes.plot(
            [r[column] for r in valid],
            [r[2] for r in valid],
            color="#b3341f",
            marker="o",
            markersize=3,
            label="validation",
        )
        axes.set_xlabel(label)
        axes.grid(alpha=0.25)
    left.set_ylabel("loss, nats per token")
    left.legend(frameon=False)
    for name, kind in (("curve.png", "png"), ("curve.svg", "svg")):
        with atomic_file(directory / name) as file:
            # No date in the metadata: the same metrics give the same file.
            figure.savefig(file, format=kind, dpi=150, metadata={"Date": None} if kind == "svg" else None)
