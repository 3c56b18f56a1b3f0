"""Models and optimizers as named tensors and JSON, and back: what a checkpoint is made of. No pickle."""

import ctypes
import random
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from types import NoneType
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import Module
from torch.optim import Optimizer

from .shards import here, is_cut
from .strict_json import Json
from .tensor_file import TensorInfo, infos_of

Tensors = dict[str, Tensor]

_PIECE_BYTES = 2**24


class HostBuffers:
    """Memory of the host into which one snapshot after another is copied, pinned for a GPU.

    Example:
        >>> buffers, weight = HostBuffers(), torch.zeros(2)
        >>> copy = buffers.copy({"weight": weight})
        >>> _ = weight.fill_(1)
        >>> copy["weight"]
        tensor([0., 0.])
        >>> copy["weight"] is buffers.copy({"weight": weight})["weight"]  # the same memory, filled again
        True
    """

    def __init__(self) -> None:
        self._tensors: Tensors = {}

    def copy(self, tensors: Mapping[str, Tensor], *, num_threads: int | None = None) -> Tensors:
        """Return copies, which stay as they are until the next call.

        Args:
            tensors: What is copied.
            num_threads: How many copy; None: as many as torch has. With 1 it is the caller, no other.
        """
        copies: Tensors = {}
        pieces: list[tuple[int, int, int]] = []  # of tensors on the CPU: to, from, bytes
        for name, tensor in tensors.items():
            mine = self._tensors.get(name)
            if mine is None or mine.shape != tensor.shape or mine.dtype != tensor.dtype:
                mine = torch.empty(tensor.shape, dtype=tensor.dtype, pin_memory=tensor.is_cuda)
            copies[name] = mine
            if tensor.device.type == "cpu" and tensor.is_contiguous():
                for begin in range(0, tensor.nbytes, _PIECE_BYTES):
                    size = min(_PIECE_BYTES, tensor.nbytes - begin)
                    pieces.append((mine.data_ptr() + begin, tensor.data_ptr() + begin, size))
            else:
                mine.copy_(tensor, non_blocking=tensor.is_cuda)
        # Training stands still meanwhile: all cores copy, 13 GB/s on two where one does 7. By threads of our
        # own, since torch's copy, with one of the cores busy, took three times as long as one thread.
        if num_threads == 1:
            for piece in pieces:
                ctypes.memmove(*piece)
        else:
            with ThreadPoolExecutor(num_threads or torch.get_num_threads()) as executor:
                list(executor.map(ctypes.memmove, *zip(*pieces, strict=True)) if pieces else ())
        for device in {tensor.device for tensor in tensors.values() if tensor.is_cuda}:
            torch.cuda.synchronize(device)
        self._tensors = copies
        return copies


def model_tensors(model: Module) -> tuple[Tensors, dict[str, str]]:
    """Return the model's tensors, tied ones once, and which names stand for another: {alias: name kept}."""
    kept: Tensors = {}
    aliases: dict[str, str] = {}
    seen: dict[tuple[int, torch.Size, tuple[int, ...]], str] = {}
    for name, tensor in _plain_state(model).items():
        # The part of a cut tensor that is here may be empty, and lie nowhere: its Parameter tells it.
        place = id(tensor) if is_cut(tensor) else tensor.data_ptr()
        key = (place, tensor.shape, tensor.stride())
        if tensor.numel() and key in seen:
            aliases[name] = seen[key]
        else:
            seen[key] = name
            kept[name] = tensor.detach()
    return kept, aliases


def check_model_tensors(model: Module, saved: Mapping[str, TensorInfo], aliases: Mapping[str, str]) -> None:
    """Refuse tensors that are not exactly the model's, by what a header says of them.

    Raises:
        ValueError: Naming the first tensor that is missing, left over, or of another type or shape.
    """
    theirs = {**saved, **{alias: saved[name] for alias, name in aliases.items() if name in saved}}
    ours = infos_of(_plain_state(model))
    for name in sorted(ours.keys() | theirs.keys()):
        if ours.get(name) != theirs.get(name):
            described = [
                "no such tensor" if of is None else str(of) for of in (ours.get(name), theirs.get(name))
            ]
            msg = f"{name}: the model has {described[0]}, the checkpoint has {described[1]}"
            raise ValueError(msg)


def load_model_tensors(model: Module, tensors: Mapping[str, Tensor], aliases: Mapping[str, str]) -> None:
    """Copy saved tensors, of cut ones the parts that are here, into the model, which they fit."""
    with torch.no_grad():
        for name, tensor in _plain_state(model).items():
            here(tensor).copy_(here(tensors[aliases.get(name, name)]))


def optimizer_tensors(optimizer: Optimizer) -> tuple[Tensors, Json]:
    """Split an optimizer's state into tensors named `<parameter index>.<field>` and JSON for the rest."""
    state = optimizer.state_dict()
    tensors: Tensors = {}
    numbers: dict[str, Json] = {}
    for index, fields in state["state"].items():
        numbers[str(index)] = {}
        for field, value in fields.items():
            if isinstance(value, Tensor):
                tensors[f"{index}.{field}"] = value.detach()
            else:
                _check_plain(optimizer, f"{field!r} of its state", value)
                numbers[str(index)][field] = value
    for group in state["param_groups"]:
        for name, value in group.items():
            _check_plain(optimizer, f"{name!r} of its groups", value)
    return tensors, {"state": numbers, "param_groups": state["param_groups"]}


def _check_plain(optimizer: Optimizer, what: str, value: Any) -> None:
    for item in value if isinstance(value, list | tuple) else (value,):
        if not isinstance(item, str | int | float | NoneType):
            told = f"{type(optimizer).__name__} can't be saved: {what} holds a {type(item).__name__}"
            msg = f"{told}, only tensors and plain numbers can be, as those of SGD, AdamW and Muon are"
            raise TypeError(msg)


def check_parameter_groups(optimizer: Optimizer, rest: Json) -> None:
    """Refuse the state of another optimizer, or of one over other groups of parameters.

    Raises:
        ValueError: Naming the sizes of the groups, or what only one of the two has, on both sides.
    """
    try:
        saved_sizes = [len(group["params"]) for group in rest["param_groups"]]
    except (KeyError, TypeError) as error:
        msg = f"the checkpoint has no groups of parameters, but {str(rest)[:200]}"
        raise ValueError(msg) from error
    sizes = [len(group["params"]) for group in optimizer.param_groups]
    if sizes != saved_sizes:
        msg = f"the optimizer has groups of {sizes} parameters, the checkpoint has {saved_sizes}"
        raise ValueError(msg)
    for group, saved in zip(optimizer.param_groups, rest["param_groups"], strict=True):
        ours, theirs = (sorted(one.keys() - other.keys()) for one, other in ((group, saved), (saved, group)))
        if ours and theirs:  # one that only lacks some may be of another version
            msg = f"the optimizer has {', '.join(ours)}, the checkpoint is of one with {', '.join(theirs)}"
            raise ValueError(msg)


def load_optimizer_tensors(optimizer: Optimizer, tensors: Mapping[str, Tensor], rest: Json) -> None:
    """Give an optimizer the state that `optimizer_tensors` took from one over the same parameters."""
    state: dict[int, dict[str, Any]] = {int(index): dict(fields) for index, fields in rest["state"].items()}
    for name, tensor in tensors.items():
        index, field = name.split(".", 1)
        state.setdefault(int(index), {})[field] = tensor
    # JSON knows no tuples: a value that is a tuple in the optimizer at hand becomes one again.
    own_groups = optimizer.state_dict()["param_groups"]
    groups = [
        {
            key: tuple(value) if isinstance(own.get(key), tuple) and isinstance(value, list) else value
            for key, value in group.items()
        }
        for own, group in zip(own_groups, rest["param_groups"], strict=True)
    ]
    optimizer.load_state_dict({"state": state, "param_groups": groups})
    # torch casts what it loads to the type of the parameter: moments wider than it would lose their bits.
    parameters = [parameter for group in optimizer.param_groups for parameter in group["params"]]
    for name, tensor in tensors.items():
        number, field = name.split(".", 1)
        loaded = optimizer.state[parameters[int(number)]]
        if loaded[field].dtype != tensor.dtype:
            loaded[field] = tensor.to(loaded[field].device)


def seed_everything(seed: int) -> None:
    """Seed the random generators that a checkpoint keeps: torch's of every device, numpy's and Python's.

    Args:
        seed: 0 to 2**64 - 1.
    """
    torch.manual_seed(seed)
    np.random.seed(seed % 2**32)
    random.seed(seed)


def random_tensors() -> Tensors:
    """Return the states of the random generators: torch's of every device, numpy's and Python's."""
    states = {"cpu": torch.get_rng_state()}
    if torch.cuda.is_available():
        states |= {f"cuda.{index}": state for index, state in enumerate(torch.cuda.get_rng_state_all())}
    if torch.backends.mps.is_available():
        states["mps"] = torch.mps.get_rng_state()
    numpys: Any = np.random.get_state(legacy=False)
    states["numpy.keys"] = torch.from_numpy(numpys["state"]["key"].astype(np.int64))
    rest = (numpys["state"]["pos"], numpys["has_gauss"], numpys["gauss"])
    states["numpy.rest"] = torch.tensor(rest, dtype=torch.float64)
    _, internal, gauss = random.getstate()
    states["python.internal"] = torch.tensor(internal, dtype=torch.int64)
    states["python.gauss"] = torch.tensor([] if gauss is None else [gauss], dtype=torch.float64)
    return states


def load_random_tensors(tensors: Mapping[str, Tensor]) -> None:
    """Set the random generators; states of devices that this machine lacks are left out."""
    torch.set_rng_state(tensors["cpu"])
    for index in range(torch.cuda.device_count() if torch.cuda.is_available() else 0):
        if f"cuda.{index}" in tensors:
            torch.cuda.set_rng_state(tensors[f"cuda.{index}"], index)
    if "mps" in tensors and torch.backends.mps.is_available():
        torch.mps.set_rng_state(tensors["mps"])
    position, has_gauss, gauss = tensors["numpy.rest"].tolist()
    keys = tensors["numpy.keys"].numpy().astype(np.uint32)
    np.random.set_state(("MT19937", keys, int(position), int(has_gauss), gauss))
    saved_gauss = tensors["python.gauss"].tolist()
    random.setstate((3, tuple(tensors["python.internal"].tolist()), saved_gauss[0] if saved_gauss else None))


def _plain_state(model: Module) -> Tensors:
    state = model.state_dict(keep_vars=True)
    for name, value in state.items():
        if not isinstance(value, Tensor):
            msg = f"{name} in the model's state is a {type(value).__name__}: only tensors can be saved"
            raise TypeError(msg)
    return state
