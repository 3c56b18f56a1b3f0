"""Every variant can learn a batch by heart."""

import math
from dataclasses import replace

import pytest
import torch

from hornbook.nn import TransformerConfig, TransformerLM
from reference_lm import CONFIG, VARIANTS

pytestmark = pytest.mark.usefixtures(
    "unchecked"
)  # the annotations are checked elsewhere, these are many steps
CONFIGS = VARIANTS | {"zero outputs": replace(CONFIG, zero_init_outputs=True)}


@pytest.mark.parametrize("config", CONFIGS.values(), ids=CONFIGS.keys())
def test_a_model_learns_random_tokens_by_heart(config: TransformerConfig) -> None:
    # Logits within -3 and 3 are never sure.
    cap = None if config.logit_softcap is None else 30.0
    model = TransformerLM(replace(config, d_model=24, logit_softcap=cap))
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-2, weight_decay=0.0)
    token_ids = torch.randint(config.vocab_size, (4, 9))
    token_ids[:, 0] = torch.arange(4)  # what begins alike could go on either way
    inputs, targets = token_ids[:, :-1], token_ids[:, 1:]
    # The mean below log(2) / number of targets: each of them is more probable than all else together.
    learned = math.log(2) / targets.numel()
    for _ in range(600):
        loss = model.loss(inputs, targets)
        if loss < learned:
            break
        optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
    assert loss < learned
    assert torch.equal(model(inputs).argmax(-1), targets)
