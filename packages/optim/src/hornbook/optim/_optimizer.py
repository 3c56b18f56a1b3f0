"""What all optimizers here share: groups checked by name, a step with an optional closure."""

from collections.abc import Callable, Mapping
from typing import Any, overload

import torch


class CheckedOptimizer(torch.optim.Optimizer):
    """A torch optimizer whose hyperparameters are checked when given and again at each step.

    A subclass says what a group may hold in `_check_group` and what a step does in `_update`.
    """

    def add_param_group(self, param_group: dict[str, Any]) -> None:
        """Add a group of parameters; what it does not set, it takes from the optimizer.

        Args:
            param_group: `{"params": ...}` with any of the optimizer's hyperparameters.

        Raises:
            ValueError: If a hyperparameter is out of range.
            TypeError: If a hyperparameter is of the wrong type.
        """
        self._check_group(self.defaults | param_group)
        super().add_param_group(param_group)

    @overload
    def step(self, closure: None = None) -> None: ...

    @overload
    def step(self, closure: Callable[[], float]) -> float: ...

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> float | None:
        """Update every parameter that has a gradient.

        Args:
            closure: Computes gradients anew and returns the loss, which is returned; usually left out.

        Raises:
            ValueError: If a gradient is sparse, a parameter complex, or a group's hyperparameter out of
                range.
            TypeError: If a group's hyperparameter is of the wrong type.
        """
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        for group in self.param_groups:
            self._check_group(group)  # a schedule may have set it since
        self._update()
        return loss

    def _check_group(self, group: Mapping[str, Any]) -> None:
        raise NotImplementedError

    def _update(self) -> None:
        raise NotImplementedError
