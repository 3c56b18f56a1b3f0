"""An experiment as a value, and the presets."""

import math
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from typing import Any, Literal

from hornbook.nn import TransformerConfig
from hornbook.trainer import LoopConfig, Precision

from .optimizer import OptimizerConfig, ScheduleConfig

PresetName = Literal["demo", "cpu", "gpu"]


@dataclass(frozen=True, kw_only=True, slots=True)
class Experiment:
    """All that the numbers of a run depend on, but for its texts."""

    model: TransformerConfig
    optimizer: OptimizerConfig
    schedule: ScheduleConfig
    loop: LoopConfig
    batch_size: int
    """Windows of context_length tokens a step."""
    shuffle: Literal["windows", "epochs"] = "windows"
    """windows: each begins at a random place; epochs: the text is cut into windows, and each comes once an
    epoch, in a random order."""
    eval_windows: int
    """Windows of the validation text, evenly spread, for the evaluations on the way."""
    final_eval_windows: int
    """The same for the last evaluation; all, if the text has no more."""
    precision: Precision = "fp32"
    """fp32; bf16 autocast, by default on GPUs that have it; fp16 autocast, by default on older ones."""
    compile: bool
    """Whether torch.compile is used: faster steps after a minute's work at the start."""
    activation_checkpointing: bool = False
    """Keep only what goes into each block and compute the rest again for the gradient: less memory, a third
    more work."""
    ema_decay: float | None = None
    """Keep a running average of the weights, such as 0.999, and evaluate and generate with it; None: no."""
    deterministic: bool = True
    """On CUDA, only kernels that give the same bits each time, without which a run that is resumed is not
    quite the run that was not stopped; a step takes some 10 % longer. Nothing changes elsewhere."""
    seed: int = 0
    """Of initial values, batches and samples."""

    def __post_init__(self) -> None:
        """Refuse what would fail only after minutes of preparation."""
        for name in ("batch_size", "eval_windows", "final_eval_windows"):
            if getattr(self, name) < 1:
                msg = f"{name} must be at least 1, got {getattr(self, name)}"
                raise ValueError(msg)
        if not 0 <= self.seed < 2**63:
            msg = f"seed must be 0 to 2**63 - 1, got {self.seed}"
            raise ValueError(msg)
        if self.ema_decay is not None and not 0 <= self.ema_decay < 1:
            msg = f"ema_decay must be at least 0 and less than 1, got {self.ema_decay}"
            raise ValueError(msg)
        self.rate()
        self.optimizer.check()

    @property
    def by_fraction(self) -> bool:
        """Whether the rate goes by the share of the run that is past: where not steps alone limit it."""
        return self.loop.max_tokens is not None or self.loop.max_seconds is not None

    def rate(self) -> Callable[[Any], float]:
        """Return the learning rate of a step; where `by_fraction`, of the share of the run that is past."""
        return self.schedule.rate(
            max_lr=self.optimizer.max_lr, num_steps=self.planned_steps, by_fraction=self.by_fraction
        )

    def as_json(self) -> dict[str, Any]:
        """Return it as JSON can have it: an infinite number, as for a norm that clips nothing, is "inf"."""

        def plain(value: Any) -> Any:
            if isinstance(value, dict):
                return {name: plain(inner) for name, inner in value.items()}
            return str(value) if isinstance(value, float) and math.isinf(value) else value

        return {name: plain(value) for name, value in asdict(self).items()}

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> "Experiment":
        """Return what `as_json` has made JSON.

        Raises:
            KeyError: If a part is missing.
            TypeError: If there is a field that this version doesn't know, or a value is none of its field's.
            ValueError: If the experiment can't be.
        """

        def part(name: str) -> dict[str, Any]:
            return {key: float(value) if value == "inf" else value for key, value in values[name].items()}

        parts = {
            "model": TransformerConfig.from_fields(part("model")),
            "optimizer": OptimizerConfig(**part("optimizer")),
            "schedule": ScheduleConfig(**part("schedule")),
            "loop": LoopConfig(**part("loop")),
        }
        return cls(**{**values, **parts})

    @property
    def tokens_per_step(self) -> int:
        """Tokens an update sees."""
        return self.batch_size * self.model.context_length

    @property
    def planned_steps(self) -> int | None:
        """Updates that the limits on steps and tokens allow; None if only the clock limits them."""
        limits = [self.loop.num_steps] if self.loop.num_steps is not None else []
        if self.loop.max_tokens is not None:
            limits.append(-(-self.loop.max_tokens // self.tokens_per_step))
        return min(limits, default=None)

    @property
    def num_tokens(self) -> int | None:
        """Tokens that so many updates see."""
        return None if self.planned_steps is None else self.planned_steps * self.tokens_per_step


def tinystories_model() -> TransformerConfig:
    """The TinyStories model of Stanford CS336, assignment 1 (2025): 22.7 M parameters."""
    return TransformerConfig(
        vocab_size=10_000,
        context_length=256,
        num_layers=4,
        d_model=512,
        num_heads=16,
        d_ff=1344,
        rope_theta=10_000.0,
    )


def demo() -> Experiment:
    """A small model that tells readable stories after two or three minutes on two CPU cores."""
    return Experiment(
        model=TransformerConfig(
            vocab_size=4096, context_length=256, num_layers=4, d_model=128, num_heads=4, d_ff=352
        ),
        optimizer=OptimizerConfig(max_lr=6e-3),
        schedule=ScheduleConfig(min_lr=3e-4, warmup_steps=50),
        loop=LoopConfig(num_steps=1000, eval_interval_steps=100, checkpoint_interval_steps=100),
        # Small batches: in the same time 960 updates of 4 windows learn more than 480 of 8.
        batch_size=4,
        eval_windows=64,
        final_eval_windows=1024,
        compile=False,  # the minute it takes at the start does not come back in two
    )


def cpu() -> Experiment:
    """The assignment's low-resource run: 32 x 5,000 x 256 = 40.96 M tokens."""
    return Experiment(
        model=tinystories_model(),
        optimizer=OptimizerConfig(max_lr=2e-3),
        schedule=ScheduleConfig(min_lr=2e-5, warmup_steps=200),
        loop=LoopConfig(num_steps=5_000, eval_interval_steps=250, checkpoint_interval_steps=100),
        batch_size=32,
        eval_windows=128,
        final_eval_windows=4096,
        compile=True,
    )


def gpu() -> Experiment:
    """The assignment's full run: 64 x 20,000 x 256 = 327.68 M tokens, 500 warmup steps."""
    return Experiment(
        model=tinystories_model(),
        optimizer=OptimizerConfig(max_lr=3e-3),
        schedule=ScheduleConfig(min_lr=3e-5, warmup_steps=500),
        loop=LoopConfig(
            num_steps=20_000, eval_interval_steps=500, checkpoint_interval_steps=1_000, log_interval_steps=10
        ),
        batch_size=64,
        eval_windows=1024,
        final_eval_windows=100_000,
        compile=True,
    )


PRESETS = {"demo": demo, "cpu": cpu, "gpu": gpu}
