import copy
import json
import math
import warnings
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from torch.nn import Parameter

from hornbook.optim import SGD, AdamW, Muon, lr_schedule, muon_groups, trapezoid

SHAPES = [(4, 3), (3, 4), (5, 5), (1, 6), (6, 1), (8, 2)]


def polar_by_svd(matrix: Tensor, *_: object) -> Tensor:
    """Five steps of the iteration, in the basis where it is one polynomial for each singular value."""
    u, s, vh = torch.linalg.svd(matrix.double(), full_matrices=False)
    s = s / max((matrix.double() ** 2).sum().sqrt().item(), 1e-7)
    for _step in range(5):
        s = 3.4445 * s - 4.7750 * s**3 + 2.0315 * s**5
    moved: Tensor = u @ torch.diag(s) @ vh
    return moved


def matrices(shapes: list[tuple[int, ...]], seed: int, dtype: torch.dtype = torch.float64) -> list[Parameter]:
    generator = torch.Generator().manual_seed(seed)
    return [Parameter(torch.randn(shape, generator=generator, dtype=dtype)) for shape in shapes]


def set_gradients(*twins: list[Parameter], generator: torch.Generator, share: float = 1.0) -> None:
    for same in zip(*twins, strict=True):
        missing = torch.rand((), generator=generator).item() > share
        grad = torch.randn(same[0].shape, generator=generator, dtype=torch.float64).to(same[0].dtype)
        for param in same:
            param.grad = None if missing else grad.clone()


@settings(deadline=None, max_examples=15)
@given(
    shapes=st.lists(st.sampled_from(SHAPES), min_size=1, max_size=4),
    lr=st.floats(0.0, 0.05),
    momentum=st.floats(0.0, 0.99),
    weight_decay=st.floats(0.0, 1.0),
    scaling=st.sampled_from([("rms", "match_rms_adamw"), ("spectral", "original")]),
    seed=st.integers(0, 2**31),
)
def test_it_agrees_with_torch_for_100_steps_when_both_orthogonalize_in_float64(
    shapes: list[tuple[int, ...]],
    lr: float,
    momentum: float,
    weight_decay: float,
    scaling: tuple[Any, str],
    seed: int,
) -> None:
    params, twins = matrices(shapes, seed), matrices(shapes, seed)
    both: dict[str, Any] = {"lr": lr, "momentum": momentum, "weight_decay": weight_decay}
    ours = Muon(params, scaling=scaling[0], **both)
    theirs = torch.optim.Muon(twins, adjust_lr_fn=scaling[1], **both)
    generator = torch.Generator().manual_seed(seed)
    with pytest.MonkeyPatch.context() as patch:
        # torch's own multiplies in bfloat16 whatever the parameters are.
        patch.setattr("torch.optim._muon._zeropower_via_newtonschulz", polar_by_svd)
        for _ in range(100):
            set_gradients(params, twins, generator=generator, share=0.8)
            ours.step()
            theirs.step()  # type: ignore[no-untyped-call]
    for param, twin in zip(params, twins, strict=True):
        torch.testing.assert_close(param, twin, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize(("scaling", "theirs"), [("rms", "match_rms_adamw"), ("spectral", "original")])
def test_in_bfloat16_it_stays_within_a_hundredth_of_torchs_way_for_100_steps(
    scaling: Any, theirs: str
) -> None:
    shapes: list[tuple[int, ...]] = [(32, 32), (48, 16), (16, 48)]
    params, twins, starts = (matrices(shapes, 0, torch.float32) for _ in range(3))
    ours = Muon(params, lr=0.02, scaling=scaling, dtype=torch.bfloat16)
    peer = torch.optim.Muon(twins, lr=0.02, adjust_lr_fn=theirs, weight_decay=0.0)
    generator = torch.Generator().manual_seed(0)
    for _ in range(100):
        set_gradients(params, twins, generator=generator)
        ours.step()
        peer.step()  # type: ignore[no-untyped-call]
    for param, twin, start in zip(params, twins, starts, strict=True):
        assert (param - twin).norm() < 0.01 * (twin - start).norm()


def test_two_steps_by_hand() -> None:
    # With one singular value the norm makes it 1, and five steps of the polynomial 0.7, whatever was before.
    five = 1.0
    for _ in range(5):
        five = 3.4445 * five - 4.7750 * five**3 + 2.0315 * five**5
    weight = Parameter(torch.tensor([[2.0, 0.0, 0.0, 0.0]], dtype=torch.float64))
    optimizer = Muon([weight], lr=0.5, weight_decay=0.1, momentum=0.5)
    weight.grad = torch.tensor([[3.0, 0.0, 0.0, 0.0]], dtype=torch.float64)
    optimizer.step()
    assert weight[0, 0].item() == pytest.approx(2 * 0.95 - 0.5 * 0.2 * 2 * five, rel=1e-12)
    # B = 0.5 * 1.5 + 0.5 * -1 = 0.25 still points forward, but the look ahead is 0.125 - 0.5 < 0.
    weight.grad = torch.tensor([[-1.0, 0.0, 0.0, 0.0]], dtype=torch.float64)
    before = weight[0, 0].item()
    optimizer.step()
    assert weight[0, 0].item() == pytest.approx(before * 0.95 + 0.5 * 0.2 * 2 * five, rel=1e-12)
    assert optimizer.state[weight]["momentum_buffer"][0, 0].item() == 0.25


def test_the_momentum_rises_to_its_value_through_the_warm_up() -> None:
    weight = Parameter(torch.zeros(1, 1, dtype=torch.float64))
    optimizer = Muon([weight], lr=0.0, momentum=0.9, momentum_start=0.5, momentum_warmup_steps=4)
    buffer = 0.0
    for momentum in (0.5, 0.6, 0.7, 0.8, 0.9, 0.9):
        weight.grad = torch.ones(1, 1, dtype=torch.float64)
        optimizer.step()
        buffer = momentum * buffer + 1 - momentum
        assert optimizer.state[weight]["momentum_buffer"].item() == pytest.approx(buffer, rel=1e-12)


def test_the_rest_is_adamw_bit_for_bit_and_lr_scale_is_a_factor_of_the_rate() -> None:
    shapes: list[tuple[int, ...]] = [(4, 3), (3,), ()]
    params, twins = matrices(shapes, 0, torch.float32), matrices(shapes, 0, torch.float32)
    ours = Muon(
        [{"params": params, "algorithm": "adamw", "lr_scale": 0.25, "weight_decay": 0.1}],
        lr=0.0,
        betas=(0.8, 0.9),
        eps=1e-6,
    )
    plain = AdamW(twins, lr=0.0, betas=(0.8, 0.9), eps=1e-6, weight_decay=0.1)
    generator = torch.Generator().manual_seed(0)
    for step in range(10):
        set_gradients(params, twins, generator=generator, share=0.8)
        ours.param_groups[0]["lr"] = 0.5 / (step + 1)
        plain.param_groups[0]["lr"] = 0.125 / (step + 1)
        ours.step()
        plain.step()
    assert all(torch.equal(param, twin) for param, twin in zip(params, twins, strict=True))

    halved, half = matrices([(4, 4)], 1), matrices([(4, 4)], 1)
    first, second = Muon(halved, lr=1.0, lr_scale=0.5, weight_decay=0.1), Muon(half, lr=0.5, weight_decay=0.1)
    set_gradients(halved, half, generator=generator)
    first.step()
    second.step()
    assert torch.equal(halved[0], half[0])


def test_a_parameter_without_gradient_is_left_alone() -> None:
    moved, still = matrices([(2, 2), (2, 2)], 0)
    before = still.detach().clone()
    optimizer = Muon([moved, still], lr=0.1, weight_decay=0.5)
    moved.grad = torch.ones_like(moved)
    optimizer.step()
    assert torch.equal(still, before)
    assert still not in optimizer.state


def test_every_update_has_the_size_of_adamws_under_rms_scaling() -> None:
    # Liu et al.: AdamW's updates have a root mean square of 0.2 to 0.4.
    for shape in ((64, 64), (32, 128), (128, 32)):
        (weight,) = matrices([shape], 0, torch.float32)
        before = weight.detach().clone()
        set_gradients([weight], generator=torch.Generator().manual_seed(0))
        Muon([weight], lr=1.0).step()
        assert 0.15 < (weight - before).square().mean().sqrt() < 0.25


class Net(torch.nn.Module):
    """A table, two hidden matrices that are turned to each other, a gain and a head."""

    def __init__(self) -> None:
        super().__init__()
        self.table = torch.nn.Embedding(6, 4)
        self.up = torch.nn.Linear(4, 8, bias=False)
        self.gain = torch.nn.Parameter(torch.ones(8))
        self.down = torch.nn.Linear(8, 4, bias=False)
        self.head = torch.nn.Linear(4, 6, bias=False)

    def forward(self, inputs: Tensor) -> Tensor:
        hidden = self.table(inputs)
        out: Tensor = self.head(hidden + self.down((self.up(hidden) * self.gain).relu()))
        return out


def net_and_muon(seed: int, **more: Any) -> tuple[Net, Muon]:
    torch.manual_seed(seed)
    net = Net()
    groups = muon_groups(net, 0.1, not_hidden=("table", "head"), adamw_lr_scale=0.5)
    return net, Muon(groups, lr=0.05, momentum_warmup_steps=15, **more)


def test_saved_as_tensors_and_json_and_restored_mid_run_it_goes_on_bit_for_bit() -> None:
    net, optimizer = net_and_muon(0)
    generator = torch.Generator().manual_seed(1)
    params = list(net.parameters())
    for _ in range(10):
        set_gradients(params, generator=generator, share=0.8)
        optimizer.step()
    saved = copy.deepcopy(optimizer.state_dict())
    # All but the tensors goes through JSON.
    groups = json.loads(json.dumps(saved["param_groups"]))
    state = {
        index: {
            key: value if isinstance(value, Tensor) else json.loads(json.dumps(value))
            for key, value in entry.items()
        }
        for index, entry in saved["state"].items()
    }
    twin_net = copy.deepcopy(net)
    twin = Muon(muon_groups(twin_net, 0.9, not_hidden=("table", "head")), lr=7.0, scaling="spectral")
    twin.load_state_dict({"state": state, "param_groups": groups})
    for _ in range(10):
        set_gradients(params, list(twin_net.parameters()), generator=generator, share=0.8)
        optimizer.step()
        twin.step()
    for param, other in zip(params, twin_net.parameters(), strict=True):
        assert torch.equal(param, other)
        ours, theirs = optimizer.state[param], twin.state[other]
        assert ours.keys() == theirs.keys()
        assert all(
            torch.equal(a, b) if isinstance(a, Tensor) else a == b
            for a, b in zip(ours.values(), theirs.values(), strict=True)
        )


def test_one_schedule_drives_both_halves_and_it_learns_where_sgd_does_not_yet() -> None:
    inputs = torch.arange(6).repeat(4)
    targets = (inputs * 5 + 1) % 6
    torch.set_num_threads(1)

    def loss_after_30_steps(optimizer: torch.optim.Optimizer, net: Net, max_lr: float) -> float:
        schedule = lr_schedule(trapezoid(0.5), max_lr=max_lr, warmup=3, end=29)
        for step in range(30):
            for group in optimizer.param_groups:
                group["lr"] = schedule(step)
            loss = torch.nn.functional.cross_entropy(net(inputs), targets)
            optimizer.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
            optimizer.step()
        return loss.item()

    net, optimizer = net_and_muon(0, dtype=torch.float32)
    muon = loss_after_30_steps(optimizer, net, 0.2)
    sgd = math.inf
    for max_lr in (0.03, 0.1, 0.3, 1.0, 3.0):  # whichever rate suits it best
        rival, _ = net_and_muon(0)
        sgd = min(sgd, loss_after_30_steps(SGD(rival.parameters(), 0.0), rival, max_lr))
    assert muon < sgd / 2


@pytest.mark.parametrize(
    ("wrong", "error", "message"),
    [
        ({"lr": -1.0}, ValueError, "lr must be at least 0 and finite, got -1.0"),
        ({"lr_scale": math.nan}, ValueError, "lr_scale must be at least 0 and finite, got nan"),
        ({"momentum": 1.0}, ValueError, "momentum must be at least 0 and less than 1, got 1.0"),
        ({"momentum_start": -0.1}, ValueError, "momentum_start must be at least 0 and less than 1, got -0.1"),
        ({"momentum_warmup_steps": -1}, ValueError, "momentum_warmup_steps must not be negative, got -1"),
        ({"num_newton_schulz_steps": 2.5}, TypeError, "num_newton_schulz_steps must be an int, got 2.5"),
        ({"scaling": "moonshot"}, ValueError, "scaling must be one of rms, spectral, got 'moonshot'"),
        ({"algorithm": "adam"}, ValueError, "algorithm must be one of muon, adamw, got 'adam'"),
        ({"weight_decay": -1}, ValueError, "weight_decay must be at least 0 and finite, got -1"),
        ({"betas": (0.9, 1.0)}, ValueError, r"betas\[1\] must be at least 0 and less than 1, got 1.0"),
        ({"eps": 0.0}, ValueError, "eps must be more than 0 and finite, got 0.0"),
    ],
)
def test_wrong_hyperparameters_are_refused_by_name(
    wrong: dict[str, Any], error: type[Exception], message: str
) -> None:
    param = Parameter(torch.ones(2, 2))
    with pytest.raises(error, match=message):
        Muon([{"params": [param], **wrong}], lr=0.1)
    if "algorithm" not in wrong:
        with pytest.raises(error, match=message):
            Muon([param], **({"lr": 0.1} | wrong))
    optimizer = Muon([param], lr=0.1)
    optimizer.param_groups[0].update(wrong)
    param.grad = torch.ones(2, 2)
    with pytest.raises(error, match=message):
        optimizer.step()
    assert torch.equal(param, torch.ones(2, 2))


def test_what_is_no_dense_matrix_is_refused() -> None:
    optimizer = Muon([Parameter(torch.ones(2, 2))], lr=0.1)
    for shape in ((3,), (2, 2, 2), ()):
        with pytest.raises(
            ValueError, match=r"Muon is for matrices, got a parameter of shape \(.*muon_groups"
        ):
            optimizer.add_param_group({"params": [Parameter(torch.ones(shape))]})
    assert len(optimizer.param_groups) == 1
    param = Parameter(torch.ones(2, 2))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        param.grad = torch.ones(2, 2).to_sparse()
    with pytest.raises(ValueError, match=r"Muon needs dense gradients, got torch\.sparse_coo"):
        Muon([param], lr=0.1).step()
