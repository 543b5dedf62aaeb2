from __future__ import annotations

import pytest
import torch
from torch import nn

from fieldgap.model import Standardized, UNet


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


@pytest.mark.parametrize("norm", ["batch", "none"])
@pytest.mark.parametrize("depth", [1, 3])
def test_logits_have_the_size_of_the_image(norm: str, depth: int) -> None:
    assert UNet(4, depth, 2, norm)(torch.zeros(2, 3, 32, 48)).shape == (2, 2, 32, 48)


def test_the_default_network_has_the_size_that_the_documents_state() -> None:
    assert sum(p.numel() for p in UNet(8, 3, 2, "batch").parameters()) == 121_186


def test_standardisation_gives_mean_zero_and_deviation_one() -> None:
    pixels = torch.randint(0, 256, (4, 3, 16, 16), dtype=torch.uint8, generator=generator())
    values = pixels.double().movedim(1, 0).flatten(1)
    net = Standardized(nn.Identity(), values.mean(1).tolist(), values.std(1).tolist())
    out = net(pixels).movedim(1, 0).flatten(1)
    torch.testing.assert_close(out.mean(1), torch.zeros(3), atol=1e-5, rtol=0)
    torch.testing.assert_close(out.std(1), torch.ones(3), atol=1e-5, rtol=0)
