"""The toy problem of learning rates: shrink a 10 x 10 matrix of weights by SGD, and see what the rate does.

The loss is the mean of the squared weights, so its gradient is 2 w / 100 and step t (from 0), at rate
lr / sqrt(t + 1), multiplies every weight by

    1 - lr / (50 sqrt(t + 1)).

The whole behaviour lies in that factor: between 0 and 1 the weights shrink, below 0 they change sign as well,
below -1 they grow.
"""

import math
from collections.abc import Sequence

_SIDE, _SCALE = 10, 5.0


def check_toy(rates: Sequence[float], num_steps: int, seed: int) -> None:
    """Refuse what can't be meant, before torch is imported.

    Raises:
        ValueError: Naming the flag, the rule and the value.
    """
    for name, value in (("num-steps", num_steps), ("rates", len(rates))):
        if value < 1:
            msg = f"--{name}: at least 1 is needed, got {value}"
            raise ValueError(msg)
    if wrong := [rate for rate in rates if not 0 <= rate < math.inf]:
        msg = f"--rates: a rate must be at least 0 and finite, got {wrong[0]}"
        raise ValueError(msg)
    if not 0 <= seed < 2**63:
        msg = f"--seed must be 0 to 2**63 - 1, got {seed}"
        raise ValueError(msg)


def toy_losses(lr: float, *, num_steps: int, seed: int = 0) -> list[float]:
    """Return the loss before each step, and after the last.

    Args:
        lr: Rate at step 0; it falls with 1 / sqrt(t + 1).
        num_steps: Steps.
        seed: Of the weights at the start, 5 times standard normal.

    Raises:
        ValueError: If the rate is negative or not finite.

    Example:
        >>> losses = toy_losses(50.0, num_steps=2)  # the first factor is 0: one step, and all is done
        >>> losses[0] > 20, losses[1] < 1e-12
        (True, True)
    """
    import torch  # here: it takes seconds, and wrong words should not

    from hornbook.optim import SGD, inverse_sqrt_schedule

    weights = _SCALE * torch.randn(_SIDE, _SIDE, generator=torch.Generator().manual_seed(seed))
    weights.requires_grad_()
    optimizer, rate = SGD([weights], lr=lr), inverse_sqrt_schedule(max_lr=lr)
    losses = []
    for step in range(num_steps + 1):
        loss = (weights**2).mean()
        losses.append(loss.item())
        if step < num_steps:
            optimizer.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
            optimizer.param_groups[0]["lr"] = rate(step)
            optimizer.step()
    return losses


def toy_table(rates: Sequence[float], *, num_steps: int, seed: int) -> str:
    """Return the losses side by side, then a verdict for each rate.

    Example:
        >>> print(toy_table([25.0], num_steps=1, seed=0))
        step         lr 25
           0         26.27
           1         6.568
        <BLANKLINE>
        lr 25: falls slowly: 0.25 of the first is left (a step multiplies the weights by 0.5 … 0.5)
    """
    columns = [toy_losses(lr, num_steps=num_steps, seed=seed) for lr in rates]
    lines = ["step" + "".join(f"{f'lr {lr:g}':>14}" for lr in rates)]
    for step, row in enumerate(zip(*columns, strict=True)):
        lines.append(f"{step:4}" + "".join(f"{loss:14.4g}" for loss in row))
    lines.append("")
    for lr, losses in zip(rates, columns, strict=True):
        first, last = (1 - lr / (50 * math.sqrt(step)) for step in (1, num_steps))
        factors = f"a step multiplies the weights by {first:.3g} … {last:.3g}"
        lines.append(f"lr {lr:g}: {toy_verdict(losses)} ({factors})")
    return "\n".join(lines)


def toy_verdict(losses: Sequence[float]) -> str:
    """Say what the losses did.

    Example:
        >>> toy_verdict([25, 24.9]), toy_verdict([25, 20, 15])
        ('hardly moves: 0.996 of the first is left', 'falls slowly: 0.6 of the first is left')
        >>> toy_verdict([25, 25, 2.5e-22]), toy_verdict([25, 9000, 8e18])
        ('falls fast: 1e-23 of the first is left', 'diverges: 3.2e+17 times the first')
    """
    first, last = losses[0], losses[-1]
    if not math.isfinite(last):
        return "diverges: no longer finite"
    share = last / first
    if share > 1:
        return f"diverges: {share:.3g} times the first"
    how = "hardly moves" if share > 0.99 else "falls slowly" if share > 0.1 else "falls fast"
    return f"{how}: {share:.3g} of the first is left"
