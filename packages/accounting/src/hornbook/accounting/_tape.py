"""Automatic differentiation of sizes: which tensors exist when, without a tensor.

A `Storage` is the memory of a tensor. Its bytes count from the moment it is made until nothing holds it:
Python's own rule, and so that of the model whose forward pass is followed here. A `Tape` remembers operations
as nodes, which hold what their backward passes need, and runs them backward as torch's engine does: the
latest first, and what one held is gone before the next runs.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Literal, NamedTuple, TypeAlias

from .formulas import evaluate

Kind: TypeAlias = Literal["gradients", "saved", "transients"]


class Storage:
    """The memory of one tensor.

    Args:
        tape: Whose live bytes it counts to.
        formula: Its bytes.
    """

    __slots__ = ("formula", "kind", "num_bytes", "tape")

    def __init__(self, tape: "Tape", formula: str) -> None:
        self.tape = tape
        self.formula = formula
        self.num_bytes = 0 if tape.stopped else tape.value(formula)
        self.kind: Kind = "transients"
        tape.held[self.kind] += self.num_bytes
        tape.live += self.num_bytes
        if tape.live > tape.peak:
            tape.peak, tape.at_peak = tape.live, dict(tape.held)

    def become(self, kind: Kind) -> None:
        """Count to another kind from now on."""
        self.tape.held[self.kind] -= self.num_bytes
        self.tape.held[kind] += self.num_bytes
        self.kind = kind

    def __del__(self) -> None:
        self.tape.held[self.kind] -= self.num_bytes
        self.tape.live -= self.num_bytes


Grads: TypeAlias = list[Storage]
Backward: TypeAlias = Callable[[], Grads]
"""Gives the gradients of an operation's inputs, in their order. `Tape.gradient` is that of its output."""


class Parameter:
    """A leaf, whose gradient stays: the sum of what its uses give."""

    __slots__ = ("accumulates", "grad")

    def __init__(self) -> None:
        self.grad: Storage | None = None
        self.accumulates = False  # whether its gradient is there from a batch before, and grows in place


class Node:
    """An operation that was run, until its backward pass is."""

    __slots__ = ("backward", "inputs", "kept")

    def __init__(
        self,
        inputs: "Sequence[Node | Parameter | None]",
        backward: Backward | None = None,
        kept: "Iterable[Storage | None]" = (),
    ) -> None:
        self.inputs = inputs
        self.backward = backward
        self.kept = kept


class Value:
    """A tensor: its memory, the bytes of each number, and what made it."""

    __slots__ = ("node", "storage", "width")

    def __init__(self, storage: Storage, width: int, node: Node | None = None) -> None:
        self.storage = storage
        self.width = width
        self.node = node


class Saved(NamedTuple):
    """A tensor that is kept for the backward pass, by the first operation that keeps it."""

    operation: str
    tensor: str
    formula: str
    num_bytes: int


class Tape:
    """Live bytes, their peak, and the operations that wait for their backward pass.

    Args:
        symbols: The value of each letter.
        live: Bytes that are there from the start.
    """

    def __init__(self, symbols: Mapping[str, int], live: int = 0) -> None:
        self.symbols = symbols
        self.live = live
        self.held: dict[Kind, int] = {"gradients": 0, "saved": 0, "transients": 0}
        self.peak = live
        self.at_peak = dict(self.held)
        self.saved: list[Saved] = []
        # What arrived at the operation that runs backward; it goes after that, unless the operation drops it.
        self.gradient: Storage | None = None
        # Whether a block that runs again has made all that is kept. There torch stops; the rest has no bytes.
        self.stopped = False
        self._recording = True
        self._num_kept = 0  # times that something was
        self._last_kept: int | None = None  # of a block that runs again
        self._nodes: list[Node] = []
        self._pending: dict[Node, Storage] = {}
        self._known: set[int] = set()
        self._sizes: dict[str, int] = {}

    def end_phase(self) -> dict[Kind, int]:
        """What was there at the peak since the last call, or the start, besides what always is."""
        moment = self.at_peak
        self.peak, self.at_peak = self.live, dict(self.held)
        return moment

    def value(self, formula: str) -> int:
        """The value of a formula, computed once."""
        if formula not in self._sizes:
            self._sizes[formula] = evaluate(formula, self.symbols)
        return self._sizes[formula]

    def new(self, formula: str) -> Storage:
        """Memory of so many bytes."""
        return Storage(self, formula)

    def keep(self, operation: str, **tensors: Storage) -> dict[str, Storage]:
        """Write down that an operation keeps tensors, but for those that one before it keeps; return them.

        While nothing is recorded nothing is kept, and nothing returned.
        """
        self._num_kept += 1
        if not self._recording:
            return {}
        self.stopped = self._num_kept == self._last_kept
        for tensor, storage in tensors.items():
            # What is kept is there until the backward pass, so its id is nobody else's before that.
            storage.become("saved")
            if id(storage) not in self._known:
                self._known.add(id(storage))
                name = tensor.replace("_", " ")
                self.saved.append(Saved(operation, name, storage.formula, storage.num_bytes))
        return tensors

    def record(
        self,
        inputs: "Sequence[Node | Parameter | None]",
        backward: Backward,
        kept: "Iterable[Storage | None]" = (),
    ) -> Node | None:
        """Remember how to go back through an operation, and what it keeps; None while nothing is recorded."""
        if not self._recording:
            return None
        node = Node(inputs, backward, kept)
        self._nodes.append(node)
        return node

    def record_joint(
        self,
        count: int,
        inputs: "Sequence[Node | Parameter | None]",
        backward: Backward,
        kept: "Iterable[Storage | None]",
        arrived: list[Storage],
    ) -> "list[Node | None]":
        """As `record`, for several outputs: a node for each, whose gradients wait in `arrived` till then."""
        whole = self.record(inputs, backward, kept)

        def wait() -> Grads:
            assert whole is not None and self.gradient is not None
            arrived.append(self.gradient)
            self._pending.setdefault(whole, self.new("0"))
            return []

        return [self.record([], wait) for _ in range(count)]

    def stand_in(self, value: Value, before: Value | None) -> Value:
        """A value that is used outside of its checkpointed block; run again, it takes the gradients."""
        if value.node is None:
            value = Value(value.storage, value.width, Node(()))
        if before is not None and before.node in self._pending:
            assert value.node is not None
            self._pending[value.node] = self._pending.pop(before.node)
        return value

    def backward(self, node: Node, formula: str) -> None:
        """Run everything backward from one operation and the gradient of its output, of so many bytes.

        It is made here: where torch.compile was used, an argument lives until the call returns.
        """
        self._pending[node] = self.new(formula)
        self._run(0)

    def checkpoint(self, block: Callable[[Value], Value], x: Value, ahead: str) -> Value:
        """Run a block that keeps its input alone, and run it again when its gradient comes.

        Args:
            block: Is run twice.
            x: Its input.
            ahead: Bytes that its last operations make going back, before the first that needs what is kept.
        """
        self._recording, before = False, self._num_kept
        out = block(x)
        self._recording, num_kept = True, self._num_kept - before
        self.keep("checkpoint", input_of_the_block=x.storage)

        def backward() -> Grads:
            first, written = len(self._nodes), len(self.saved)
            gradient = self.new(ahead)
            self._last_kept = self._num_kept + num_kept
            again = block(x)
            self._last_kept, self.stopped = None, False
            del self.saved[written:], gradient
            assert again.node is not None and self.gradient is not None
            self._pending[again.node], self.gradient = self.gradient, None
            del again
            self._run(first)
            return []

        out.node = self.record([], backward)
        return out

    def _run(self, first: int) -> None:
        """Run the nodes backward that were recorded after the first so many."""
        while len(self._nodes) > first:
            node = self._nodes.pop()
            if node not in self._pending:
                continue
            assert node.backward is not None
            self.gradient = self._pending.pop(node)
            grads = node.backward()
            inputs = node.inputs
            # Whoever still knows the node holds nothing by it.
            self.gradient, node.inputs, node.backward, node.kept = None, (), None, ()
            for target in inputs:
                self._give(target, grads.pop(0))

    def _give(self, target: Node | Parameter | None, grad: Storage) -> None:
        if isinstance(target, Node):
            before = self._pending.pop(target, None)
            # torch adds in place where it may, but not to tensors of a class of their own, as fake ones are.
            self._pending[target] = grad if before is None else self.new(grad.formula)
        elif target is not None and not target.accumulates:
            target.grad = grad if target.grad is None else self.new(grad.formula)
            target.grad.become("gradients")
