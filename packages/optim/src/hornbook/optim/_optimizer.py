"""What all optimizers here share: groups checked by name, a step with an optional closure."""

from collections.abc import Callable, Mapping
from typing import Any, overload

import torch

# What torch.optim.lr_scheduler keeps in the groups of the optimizer it drives.
_OF_SCHEDULERS = {"initial_lr", "min_lr", "max_lr", "base_momentum", "max_momentum", "swa_lr"}


class CheckedOptimizer(torch.optim.Optimizer):
    """A torch optimizer whose hyperparameters are checked when given and again at each step.

    A subclass says what a group may hold in `_check_group`, what is kept for a parameter in `_state_names`,
    and what a step does in `_update`.
    """

    def add_param_group(self, param_group: dict[str, Any]) -> None:
        """Add a group of parameters; what it does not set, it takes from the optimizer.

        Args:
            param_group: `{"params": ...}` with any of the optimizer's hyperparameters.

        Raises:
            ValueError: If a hyperparameter is out of range, or the group holds what is none.
            TypeError: If a hyperparameter is of the wrong type.
        """
        for name in param_group:
            if name not in {"params", "param_names", *self.defaults}:
                msg = f"{type(self).__name__} knows no {name!r} in a group, only {', '.join(self.defaults)}"
                raise ValueError(msg)
        self._check_group(self.defaults | param_group)
        super().add_param_group(param_group)

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Go on where another optimizer of this class was, over parameters of the same shapes.

        Args:
            state_dict: What `state_dict` gave there.

        Raises:
            ValueError: If it is of another optimizer or of parameters of other shapes, or a hyperparameter is
                out of range. Nothing has been changed then.
            TypeError: If a hyperparameter is of the wrong type, or `state_dict` is no dict.
        """
        own_name = type(self).__name__
        if not isinstance(state_dict, dict):
            msg = f"a state dict must be a dict, as state_dict() gives it, got {type(state_dict).__name__}"
            raise TypeError(msg)
        if missing := {"state", "param_groups"} - state_dict.keys():
            msg = f"the state dict has no {' and no '.join(sorted(missing))}: it is not of an optimizer"
            raise ValueError(msg)
        known = {"params", "param_names", *self.defaults} | _OF_SCHEDULERS
        # torch itself looks at the numbers of groups and of their parameters alone.
        for number, (group, own) in enumerate(
            zip(state_dict["param_groups"], self.param_groups, strict=False)
        ):
            for name in self.defaults:
                # torch adds to the defaults when it loads: no group has what it added.
                if name in own and name not in group:
                    msg = f"group {number} of the state dict has no {name!r}: it is not of {own_name}"
                    raise ValueError(msg)
            for name in group:
                if name not in known and name not in own:
                    msg = f"group {number} of the state dict has {name!r}: it is not of {own_name}"
                    raise ValueError(msg)
            self._check_group(group)
            for index, param in zip(group["params"], own["params"], strict=False):
                self._check_state(index, state_dict["state"].get(index), param, self._state_names(group))
        super().load_state_dict(state_dict)

    def _check_state(
        self, index: int, state: Mapping[str, Any] | None, param: torch.Tensor, names: set[str]
    ) -> None:
        """Refuse what was kept by another optimizer, or for a parameter of another shape."""
        if not state:  # it has had no gradient yet
            return
        if state.keys() != names or type(state.get("step", 0)) is not int:
            told = {name: kept if name == "step" else "…" for name, kept in state.items()}
            msg = (
                f"the state of parameter {index} must hold {', '.join(sorted(names))}, step as an int, got"
                f" {told}: it is not of {type(self).__name__}"
            )
            raise ValueError(msg)
        for name in sorted(names - {"step"}):
            if state[name].shape != param.shape:
                msg = (
                    f"{name} of parameter {index} has shape {tuple(state[name].shape)}, the parameter"
                    f" {tuple(param.shape)}: the state dict is of another model"
                )
                raise ValueError(msg)

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

    def _state_names(self, group: Mapping[str, Any]) -> set[str]:
        raise NotImplementedError

    def _update(self) -> None:
        raise NotImplementedError
