"""The layers of `hornbook.nn` in sizes: each function follows the forward pass of what it is named after.

What a layer keeps for its backward pass, and what it makes on the way, is read from its code as it runs
without a compiler: `x @ W.T` for Linear, the passes written by hand for RMSNorm, SwiGLU and RoPE, the loss in
chunks. A test compares every byte with the running model. Sizes are numbers; a `width` is bytes a number.
"""

from collections import Counter
from collections.abc import Sequence

from ._tape import Grads, Node, Parameter, Storage, Tape, Value
from .formulas import width_of_heads
from .shape import Shape

_SWIGLU_SLICE = 2**17  # numbers that the gate goes through at a time, in whole rows


class Model:
    """The parameters by name, and how the model computes.

    Args:
        shape: A checked shape.
        tape: Where all of it happens.
        autocast: Whether matrix products run in bfloat16.
        fused: Whether attention is torch's fused kernel.
    """

    def __init__(self, shape: Shape, tape: Tape, *, autocast: bool, fused: bool) -> None:
        self.shape = shape
        self.tape = tape
        self.autocast = autocast
        self.fused = fused
        self.parameters: dict[str, Parameter] = {}

    def parameter(self, name: str) -> Parameter:
        """The parameter of that name."""
        return self.parameters.setdefault(name, Parameter())

    @property
    def width(self) -> int:
        """Of what a matrix product gives."""
        return 2 if self.autocast else 4


def cast(model: Model, x: Value, width: int, numbers: str) -> Value:
    """`x.to(dtype)`: x itself where it has that width."""
    if x.width == width:
        return x
    tape, before = model.tape, f"{x.width}·{numbers}"
    return Value(tape.new(f"{width}·{numbers}"), width, tape.record([x.node], lambda: [tape.new(before)]))


def add(model: Model, x: Value, y: Value, numbers: str) -> Value:
    """`x + y`: keeps nothing; as wide as the wider."""
    tape, widths = model.tape, (x.width, y.width)
    width = max(widths)

    def backward() -> Grads:
        assert tape.gradient is not None
        return [tape.gradient if own == width else tape.new(f"{own}·{numbers}") for own in widths]

    return Value(tape.new(f"{width}·{numbers}"), width, tape.record([x.node, y.node], backward))


def embedding(model: Model, name: str) -> Value:
    """Rows of a table: keeps the ids, which are the batch's; its gradient is a whole table."""
    tape, leaf = model.tape, model.parameter(name)
    return Value(tape.new("4·T·d"), 4, tape.record([leaf], lambda: [tape.new("4·V·d")]))


def linear(model: Model, x: Value, name: str, operation: str, sizes: tuple[str, str, str]) -> Value:
    """`x @ W.T`: keeps x. Under autocast each keeps bfloat16 copies of its own, of x and of W."""
    tape, width = model.tape, model.width
    inputs, outputs, weights = sizes
    target: Node | Parameter | None = model.parameter(name)
    weight: Storage | None = None
    if model.autocast:
        weight = tape.new(f"2·{weights}")
        target = tape.record([target], lambda: [tape.new(f"4·{weights}")])
        tape.keep(operation, weight_in_bfloat16=weight)
    x = cast(model, x, width, inputs)
    tape.keep(operation, input=x.storage)

    def backward() -> Grads:
        grad_weight = tape.new(f"{width}·{weights}")
        return [tape.new(f"{width}·{inputs}"), grad_weight]

    return Value(
        tape.new(f"{width}·{outputs}"), width, tape.record([x.node, target], backward, (x.storage, weight))
    )


def linears(
    model: Model,
    x: Value,
    names: Sequence[str],
    operation: str,
    sizes: tuple[str, Sequence[str], Sequence[str]],
) -> list[Value]:
    """Several maps of x, by hand: keeps x; under autocast a bfloat16 copy of it, and one of all weights."""
    tape, width = model.tape, model.width
    inputs, outputs, weights = sizes
    targets = [x.node, *(model.parameter(name) for name in names)]
    kept = [x.storage]
    if model.autocast:
        joint = tape.new(_sum(2, weights))
        kept = [x.storage if x.width == 2 else tape.new(f"2·{inputs}"), joint]
        made = [tape.new(_sum(2, outputs))] * len(outputs)  # side by side
        tape.keep(operation, input=kept[0], weights_in_bfloat16=joint)
        del joint
    else:
        made = [tape.new(f"4·{size}") for size in outputs]
        tape.keep(operation, input=x.storage)
    arrived: list[Storage] = []
    before = x.width

    def backward() -> Grads:
        if width == 4:
            grads = [tape.new(f"4·{size}") for size in (inputs, *weights)]
        else:
            together = tape.new(_sum(2, outputs))
            grad_x, rounded = tape.new(f"2·{inputs}"), tape.new(_sum(2, weights))
            if before == 4:
                grad_x = tape.new(f"4·{inputs}")
            grads = [grad_x, *[tape.new(_sum(4, weights))] * len(weights)]
            del together, rounded
        arrived.clear()
        return grads

    nodes = tape.record_joint(len(outputs), targets, backward, kept, arrived)
    return [Value(storage, width, node) for storage, node in zip(made, nodes, strict=True)]


def _sum(width: int, sizes: Sequence[str]) -> str:
    """The bytes of several tensors together."""
    return " + ".join(f"{width * number}·{size}" for size, number in Counter(sizes).items())


def rms_norm(
    model: Model, x: Value, name: str, operation: str, sizes: tuple[str, str, str], *, copies: bool = False
) -> Value:
    """The norm: keeps x in float32 and one number a vector.

    With `copies`, its backward pass copies a product that does not lie in order.
    """
    tape, width = model.tape, x.width
    numbers, vectors, gains = sizes
    x = cast(model, x, 4, numbers)
    inverse_rms = tape.new(f"4·{vectors}")
    normed = tape.new(f"4·{numbers}")
    tape.keep(operation, input=x.storage, inverse_rms=inverse_rms)  # when all of the Function is done

    def backward() -> Grads:
        grad = tape.new(f"4·{numbers}")
        copy = tape.new(f"4·{numbers}") if copies else None
        dot = tape.new(f"4·{vectors}")
        del copy
        copy = tape.new(f"4·{numbers}") if copies else None
        grad_gain = tape.new(f"4·{gains}")
        del copy
        square, product = tape.new(f"4·{vectors}"), tape.new(f"4·{vectors}")
        del dot, square, product
        return [grad, grad_gain]

    leaf = model.parameter(name)
    y = Value(normed, 4, tape.record([x.node, leaf], backward, (x.storage, inverse_rms)))
    del normed, inverse_rms
    return cast(model, y, width, numbers)


def learned_mix(model: Model, x: Value, y: Value, name: str, operation: str, numbers: str) -> Value:
    """`w[0] * x + w[1] * y`: keeps both."""
    tape = model.tape
    leaf = model.parameter(name)

    def term(value: Value) -> Value:
        size = f"{value.width}·{numbers}"
        tape.keep(operation, input=value.storage)

        def backward() -> Grads:
            grad, product = tape.new(size), tape.new(size)
            del product
            return [grad, tape.new("8")]

        # float32 scalars of no axis leave the width of x as it is.
        return Value(tape.new(size), value.width, tape.record([value.node, leaf], backward, [value.storage]))

    first = term(x)
    return add(model, first, term(y), numbers)


def swiglu(model: Model, gate: Value, x: Value, numbers: str) -> Value:
    """The gate by hand: keeps both of its inputs. Backward it goes some rows at a time."""
    tape, size = model.tape, f"{x.width}·{numbers}"
    x_width, rows, tokens = x.width, max(1, _SWIGLU_SLICE // model.shape.d_ff), tape.value("T")
    tape.keep("SwiGLU", W1_x=gate.storage, W3_x=x.storage)

    def backward() -> Grads:
        grads = [tape.new(size), tape.new(size)]
        sigmoid = tape.new(f"{x_width}·{min(rows, tokens)}·f")
        if tokens > rows:  # the next one is made before the last is gone
            following = tape.new(f"{x_width}·{min(rows, tokens - rows)}·f")
            del following
        del sigmoid
        return grads

    return Value(
        tape.new(size), x.width, tape.record([gate.node, x.node], backward, (gate.storage, x.storage))
    )


def silu(model: Model, x: Value, numbers: str) -> Value:
    """`x * sigmoid(x)` by autograd: keeps both factors."""
    tape, size = model.tape, f"{x.width}·{numbers}"
    sigmoid = tape.new(size)
    tape.keep("SiLU", input=x.storage, sigmoid=sigmoid)

    def sigmoid_backward() -> Grads:
        return [tape.new(size)]

    node = tape.record([x.node], sigmoid_backward, [sigmoid])

    def backward() -> Grads:
        return [tape.new(size), tape.new(size)]

    return Value(tape.new(size), x.width, tape.record([x.node, node], backward, (x.storage, sigmoid)))


def squared_relu(model: Model, x: Value, numbers: str) -> Value:
    """`x.clamp(min=0).square()` by autograd: keeps the input of each."""
    tape, size = model.tape, f"{x.width}·{numbers}"
    positive = tape.new(size)
    tape.keep("ReLU²", input=x.storage, positive_part=positive)

    def clamp_backward() -> Grads:
        mask = tape.new(numbers)
        grad = tape.new(size)
        del mask
        return [grad]

    def square_backward() -> Grads:
        power, twice, grad = tape.new(size), tape.new(size), tape.new(size)
        del power, twice
        return [grad]

    node = tape.record([x.node], clamp_backward, [x.storage])
    return Value(tape.new(size), x.width, tape.record([node], square_backward, [positive]))


def rotate(model: Model, x: Value, turns: list[Storage], numbers: str) -> Value:
    """RoPE: keeps two complex numbers a pair and position, the same in all layers."""
    tape, width = model.tape, x.width
    x = cast(model, x, 4, numbers)
    tape.keep("RoPE", **dict(zip(("turns_there", "turns_back"), turns, strict=True)))
    node = tape.record([x.node], lambda: [tape.new(f"4·{numbers}")], turns)
    return cast(model, Value(tape.new(f"4·{numbers}"), 4, node), width, numbers)


def split_heads(model: Model, x: Value, numbers: str) -> Value:
    """A view; after explicit attention its gradient is copied into the order of the projection."""
    if model.fused:
        return x
    tape, size = model.tape, f"{x.width}·{numbers}"
    return Value(x.storage, x.width, tape.record([x.node], lambda: [tape.new(size)]))


def fused_attention(model: Model, query: Value, key: Value, value: Value) -> Value:
    """Torch's kernel: keeps its inputs, its output and one number a query."""
    tape, width = model.tape, model.width
    numbers = f"{width}·T·{width_of_heads(model.shape)}"
    output = tape.new(numbers)
    kept = tape.keep(
        "attention",
        queries=query.storage,
        keys=key.storage,
        values=value.storage,
        output=output,
        logarithms_of_sums=tape.new("4·B·h·S"),
    ).values()

    def backward() -> Grads:
        return [tape.new(numbers), tape.new(f"{width}·T·g·k"), tape.new(f"{width}·T·g·k")]

    return Value(output, width, tape.record([query.node, key.node, value.node], backward, kept))
