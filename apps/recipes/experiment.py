"""An experiment as a value, and the presets."""

from dataclasses import dataclass
from typing import Literal

import torch
from torch.optim.optimizer import ParamsT

from hornbook.nn import TransformerConfig
from hornbook.optim import AdamW, Schedule, cosine_schedule
from hornbook.trainer import LoopConfig

PresetName = Literal["demo", "cpu", "gpu"]
Precision = Literal["fp32", "bf16"]


@dataclass(frozen=True, kw_only=True, slots=True)
class AdamWConfig:
    """The optimizer and its cosine schedule."""

    max_lr: float
    """Learning rate at the end of the warmup."""
    min_lr: float
    """Learning rate at the last step."""
    warmup_steps: int
    """Steps in which the rate rises from 0."""
    betas: tuple[float, float] = (0.9, 0.95)
    """Decay of the running means of the gradient and of its square."""
    eps: float = 1e-8
    """Added to the root of the second mean."""
    weight_decay: float = 0.1
    """Of the matrices; gains are never decayed."""

    def over(self, parameters: ParamsT) -> AdamW:
        """Return the optimizer of these parameters or groups; refuses impossible settings by name."""
        return AdamW(parameters, self.max_lr, betas=self.betas, eps=self.eps, weight_decay=self.weight_decay)


@dataclass(frozen=True, kw_only=True, slots=True)
class Experiment:
    """All that the numbers of a run depend on, but for its texts."""

    model: TransformerConfig
    optimizer: AdamWConfig
    loop: LoopConfig
    batch_size: int
    """Windows of context_length tokens a step."""
    eval_windows: int
    """Windows of the validation text, evenly spread, for the evaluations on the way."""
    final_eval_windows: int
    """The same for the last evaluation; all, if the text has no more."""
    precision: Precision = "fp32"
    """fp32, or bf16 autocast; by default bf16 on GPUs that have it."""
    compile: bool
    """Whether torch.compile is used: faster steps after a minute's work at the start."""
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
        if self.optimizer.warmup_steps >= self.loop.num_steps:
            msg = (
                f"warmup_steps must be less than num_steps, got {self.optimizer.warmup_steps} and "
                f"{self.loop.num_steps}: give fewer --warmup-steps or more --num-steps"
            )
            raise ValueError(msg)
        self.schedule()
        self.optimizer.over([torch.zeros(1)])

    def schedule(self) -> Schedule:
        """Return the learning rate of a step: warmup, then a cosine that ends with the run."""
        return cosine_schedule(
            max_lr=self.optimizer.max_lr,
            min_lr=self.optimizer.min_lr,
            warmup_steps=self.optimizer.warmup_steps,
            cosine_steps=self.loop.num_steps,
        )

    @property
    def tokens_per_step(self) -> int:
        """Tokens an update sees."""
        return self.batch_size * self.model.context_length

    @property
    def num_tokens(self) -> int:
        """Tokens the whole run sees."""
        return self.loop.num_steps * self.tokens_per_step


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
        optimizer=AdamWConfig(max_lr=6e-3, min_lr=3e-4, warmup_steps=50),
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
        optimizer=AdamWConfig(max_lr=2e-3, min_lr=2e-5, warmup_steps=200),
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
        optimizer=AdamWConfig(max_lr=3e-3, min_lr=3e-5, warmup_steps=500),
        loop=LoopConfig(
            num_steps=20_000, eval_interval_steps=500, checkpoint_interval_steps=1_000, log_interval_steps=10
        ),
        batch_size=64,
        eval_windows=1024,
        final_eval_windows=100_000,
        compile=True,
    )


PRESETS = {"demo": demo, "cpu": cpu, "gpu": gpu}
