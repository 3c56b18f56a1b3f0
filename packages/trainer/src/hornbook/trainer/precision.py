"""Numbers of 32 or of 16 bits: which a device has, autocast, and the factor that float16 needs."""

import math
from collections.abc import Iterable

import torch
from torch import Tensor

from .choices import Precision
from .evaluation import Loss
from .strict_json import Json

_DTYPES = {"bf16": torch.bfloat16, "fp16": torch.float16}


def choose_precision(device: torch.device) -> Precision:
    """Return what suits a device: bf16 on CUDA that has it, fp16 on older CUDA, fp32 elsewhere."""
    if device.type != "cuda":
        return "fp32"
    return "bf16" if torch.cuda.is_bf16_supported(including_emulation=False) else "fp16"


def allow_tf32(device: torch.device) -> bool:
    """Let float32 matrix products use TF32 on CUDA; on MPS the setting is known to harm. Returns whether."""
    if device.type == "cuda":
        torch.set_float32_matmul_precision("high")
    return device.type == "cuda"


def autocast(loss: Loss, device: torch.device, precision: Precision) -> Loss:
    """Return the loss computed in a precision; with "fp32" it is the same."""
    if precision == "fp32":
        return loss

    def cast(inputs: Tensor, targets: Tensor) -> Tensor:
        with torch.autocast(device.type, _DTYPES[precision]):
            return loss(inputs, targets)

    return cast


class LossScale:
    """The factor that keeps small gradients from vanishing in float16 (Micikevicius et al., 2018).

    The loss is multiplied by it and the gradients divided. When these are not finite the update is left out
    and the factor halved; after so many good updates it is doubled. It is a power of two, so it changes no
    digit. The same as `torch.amp.GradScaler`, but for the device: the loop has already read whether the
    gradients are finite, so the factor is a plain number, and it is in the checkpoint.

    Args:
        value: At first; 2**16 as in torch. 1 with `growth_interval_steps` infinite is no scaling at all.
        growth_interval_steps: Good updates in a row after which it is doubled.

    Example:
        >>> scale = LossScale()
        >>> scale.shrink(), scale.value
        (True, 32768.0)
    """

    def __init__(self, value: float = 2.0**16, *, growth_interval_steps: float = 2000) -> None:
        self.value = value
        self.growth_interval_steps = growth_interval_steps
        self._good_steps = 0

    @staticmethod
    def none() -> "LossScale":
        """Return the factor 1, for ever: for fp32 and bf16."""
        return LossScale(1.0, growth_interval_steps=math.inf)

    def unscale_(self, gradients: Iterable[Tensor | None]) -> None:
        """Divide gradients by the factor, in place."""
        if self.value != 1:
            torch._foreach_mul_([grad for grad in gradients if grad is not None], 1 / self.value)

    def grow(self) -> None:
        """Hear that an update was good."""
        self._good_steps += 1
        if self._good_steps >= self.growth_interval_steps:
            self.value *= 2
            self._good_steps = 0

    def shrink(self) -> bool:
        """Hear that gradients were not finite; False if a smaller factor would not help."""
        self._good_steps = 0
        if self.value <= 1:
            return False
        self.value /= 2
        return True

    def state(self) -> Json:
        """Return what a checkpoint keeps."""
        return {"value": self.value, "good_steps": self._good_steps}

    def load(self, state: Json) -> None:
        """Go on from what `state` returned."""
        self.value, self._good_steps = state["value"], state["good_steps"]
