"""AdamW: Adam with weight decay that does not pass through the gradient."""

import logging
import math
from collections.abc import Iterable, Iterator, Mapping, MutableMapping
from itertools import chain
from typing import Any, TypeAlias

import torch
from torch import Tensor
from torch.optim.optimizer import ParamsT

from ._checks import require_flag
from ._fused_adamw import Numbers, fused_adamw_
from ._gradients import params_with_grads
from ._optimizer import CheckedOptimizer
from ._shards import all_local
from .hyperparameters import check_adamw_group

logger = logging.getLogger(__name__)

Batch: TypeAlias = tuple[list[Tensor], list[Tensor], list[Tensor], list[Tensor], list[Numbers]]
"""Parameters of one group, their gradients, their moments, and the numbers that go with each."""

ADAMW_STATE = {"step", "exp_avg", "exp_avg_sq"}

_SLICE = 2**18  # numbers; a fourth to four times of it is within 20 % of the time


class AdamW(CheckedOptimizer):
    """AdamW, algorithm 2 of Loshchilov & Hutter, "Decoupled Weight Decay Regularization" (2019).

    At the t-th gradient g of a parameter p, t counted from 1 for each parameter:

        p = p - lr * weight_decay * p
        m = beta1 * m + (1 - beta1) * g
        v = beta2 * v + (1 - beta2) * g**2
        p = p - lr_t * m / (sqrt(v) + eps_t)

        with  lr_t = lr * sqrt(1 - beta2**t) / (1 - beta1**t)  and  eps_t = eps * sqrt(1 - beta2**t)

    which is `lr * m_hat / (sqrt(v_hat) + eps)` with the corrected moments of the paper, at one pass over
    memory less. It is also what `torch.optim.AdamW` computes. Stanford CS336, assignment 1 (2025) prints
    the last line with `eps` for `eps_t` and decays after it: the same but for `lr**2 * weight_decay` a step
    and gradients as small as `eps`.

    The rate is read from `group["lr"]` at each step, so a schedule sets it there. A parameter without
    gradient is left alone, decay included, and its t stands still.

    By default each line is one `torch._foreach_*` call per group; the root in the last line needs one
    temporary copy of a group's parameters. With `fused=True` all of it is compiled into one pass over
    memory, see `_fused_adamw.py`: for 22.7 M parameters on two CPU cores four times as fast, and as fast as
    `torch.optim.AdamW(fused=True)`. The two differ by roundings. To compile takes 12 to 20 s at the first
    step, 4 s where torch has cached it, and as long again when other parameters than before have gradients
    (after eight times, torch compiles no more, and the default is used); a new rate or step compiles
    nothing. So it pays in long runs, and is not the default.

    The state of a parameter is `exp_avg` (m) and `exp_avg_sq` (v), tensors like the parameter, and `step`
    (t), an int: a GPU is never asked for it, JSON holds it, and it does not stop growing at 2**24 as a
    float32 would. With groups, it goes through `state_dict` and `load_state_dict` bit for bit; as with
    every torch optimizer, these share tensors with the live one unless copied.

    Args:
        params: Parameters, named parameters or groups of them; a group may set its own `lr`, `betas`, `eps`
            and `weight_decay` (see `decay_groups`).
        lr: Learning rate, at least 0.
        betas: Decay rates of m and v, from 0 up to but not including 1; torch's defaults. Language models are
            commonly trained with (0.9, 0.95).
        eps: Keeps the division finite, more than 0; torch's default.
        weight_decay: Share of a parameter that is lost per step and unit of `lr`, at least 0; torch's
            default.
        fused: Whether to compile the update. Where torch can't, as on a CPU without a C++ compiler, one
            warning is logged and the default is used.

    Raises:
        ValueError: If a hyperparameter is out of range; at a step, if a gradient is sparse or a parameter
            complex.
        TypeError: If a hyperparameter is not a number.

    Example:
        >>> weight = torch.tensor([2.0], requires_grad=True)
        >>> optimizer = AdamW([weight], lr=0.1, weight_decay=0.5)
        >>> (3 * weight).sum().backward()
        >>> optimizer.step()  # 2 - 0.1 * 0.5 * 2 = 1.9; the first step is lr long, whatever the gradient
        >>> round(weight.item(), 6)
        1.8
    """

    fused: bool = False  # for copies and unpickled ones: torch drops an optimizer's own attributes

    def __init__(
        self,
        params: ParamsT,
        lr: float,
        *,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 0.01,
        fused: bool = False,
    ) -> None:
        require_flag("fused", fused)
        super().__init__(params, {"lr": lr, "betas": betas, "eps": eps, "weight_decay": weight_decay})
        self.fused = fused

    def _check_group(self, group: Mapping[str, Any]) -> None:
        check_adamw_group(group)

    def _state_names(self, group: Mapping[str, Any]) -> set[str]:  # noqa: ARG002
        return ADAMW_STATE

    def _update(self) -> None:
        self.fused = update_adamw_("AdamW", self.param_groups, self.state, fused=self.fused)


def update_adamw_(
    optimizer: str,
    groups: Iterable[Mapping[str, Any]],
    state: MutableMapping[Tensor, dict[str, Any]],
    *,
    fused: bool,
) -> bool:
    """Do one step of AdamW on groups that have been checked.

    Args:
        optimizer: Its name, for messages.
        groups: Each with `params`, `lr`, `betas`, `eps` and `weight_decay`.
        state: Of the optimizer.
        fused: Whether to use the compiled update.

    Returns:
        Whether to use it the next time: `fused`, but False if it could not be compiled.
    """
    found = [(group, *params_with_grads(optimizer, group)) for group in groups]
    batches = []
    for group, params, grads in found:
        states = [_next_state(state[param], param) for param in params]
        exp_avgs, exp_avg_sqs = ([own[name] for own in states] for name in ("exp_avg", "exp_avg_sq"))
        numbers = [_numbers(group, own["step"]) for own in states]
        if params:
            # Each element is updated by itself, so a shard is as good as the whole.
            batches.append(
                (all_local(params), all_local(grads), all_local(exp_avgs), all_local(exp_avg_sqs), numbers)
            )
    if fused and batches:
        try:
            fused_adamw_(*(list(chain(*lists)) for lists in zip(*batches, strict=True)))
        except Exception as error:  # torch's reasons not to compile have no common class
            logger.warning("%s goes on without fused updates, which did not compile: %s", optimizer, error)
            fused = False
        else:
            return True
    for batch in batches:
        for piece in _pieces(batch):
            _foreach_adamw_(*piece)
    return fused


def _pieces(batch: Batch) -> Iterator[Batch]:
    """Cut a batch for a CPU, where no launch is saved by many tensors at once and the caches are small.

    A line of the formula then finds the numbers where the line before has left them, and there are never more
    square roots than those of a slice: for 22.7 M parameters 74 ms in place of 110 on one thread, 43 in place
    of 169 on two. The arithmetic is the same, number by number.
    """
    if batch[0][0].device.type != "cpu":
        yield batch
        return
    for *tensors, own in zip(*batch, strict=True):
        slices: list[tuple[Tensor, ...]] = [(tensor,) for tensor in tensors]
        if (size := tensors[0].numel()) > _SLICE:
            rows = max(1, _SLICE * len(tensors[0]) // size)
            slices = [torch.split(tensor, rows) for tensor in tensors]
        for param, grad, exp_avg, exp_avg_sq in zip(*slices, strict=True):
            yield [param], [grad], [exp_avg], [exp_avg_sq], [own]


def _next_state(state: dict[str, Any], param: Tensor) -> dict[str, Any]:
    """The state of a parameter, made when its first gradient comes, with the step counted."""
    if not state:
        state.update(step=0, exp_avg=torch.zeros_like(param), exp_avg_sq=torch.zeros_like(param))
    state["step"] += 1
    return state


def _numbers(group: Mapping[str, Any], step: int) -> Numbers:
    lr, (beta1, beta2), eps, weight_decay = (group[key] for key in ("lr", "betas", "eps", "weight_decay"))
    correction = math.sqrt(1 - beta2**step)
    return Numbers(
        kept=1 - lr * weight_decay,
        weight1=1 - beta1,
        beta2=beta2,
        weight2=1 - beta2,
        rate=lr * correction / (1 - beta1**step),
        eps=eps * correction,
    )


def _foreach_adamw_(
    params: list[Tensor],
    grads: list[Tensor],
    exp_avgs: list[Tensor],
    exp_avg_sqs: list[Tensor],
    numbers: list[Numbers],
) -> None:
    group = numbers[0]  # but for the last two, which belong to the parameter: it may be at an earlier step
    torch._foreach_mul_(params, group.kept)
    torch._foreach_lerp_(exp_avgs, grads, group.weight1)
    torch._foreach_mul_(exp_avg_sqs, group.beta2)
    torch._foreach_addcmul_(exp_avg_sqs, grads, grads, group.weight2)
    denominators = torch._foreach_sqrt(exp_avg_sqs)
    torch._foreach_add_(denominators, [own.eps for own in numbers])
    torch._foreach_addcdiv_(params, exp_avgs, denominators, [-own.rate for own in numbers])
