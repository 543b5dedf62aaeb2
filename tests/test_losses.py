from __future__ import annotations

import math

import torch

from fieldgap.losses import cross_entropy


def test_cross_entropy_of_a_hand_computed_case() -> None:
    """Two pixels, two classes: probability 3/4 for the truth in one, 1/5 in the other."""
    logits = torch.log(torch.tensor([[[[3.0, 4.0]], [[1.0, 1.0]]]]))
    target = torch.tensor([[[0, 1]]])
    assert math.isclose(cross_entropy(logits, target).item(), -(math.log(3 / 4) + math.log(1 / 5)) / 2, rel_tol=1e-6)


def test_cross_entropy_is_torchs_with_its_gradient() -> None:
    logits = torch.randn(2, 3, 5, 7, generator=torch.Generator().manual_seed(0), requires_grad=True)
    target = torch.randint(3, (2, 5, 7), generator=torch.Generator().manual_seed(1))
    ours, theirs = cross_entropy(logits, target), torch.nn.functional.cross_entropy(logits, target)
    torch.testing.assert_close(ours, theirs)
    torch.testing.assert_close(*(torch.autograd.grad(loss, logits)[0] for loss in (ours, theirs)))


def test_a_tile_of_one_class_is_fine() -> None:
    logits = torch.zeros(1, 2, 4, 4)
    for value in (0, 1):
        loss = cross_entropy(logits, torch.full((1, 4, 4), value))
        assert math.isclose(loss.item(), math.log(2), rel_tol=1e-6)
