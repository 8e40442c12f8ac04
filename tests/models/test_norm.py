"""The norm is torch's, its gradient too."""

import pytest
import torch
from torch.nn import functional

from exphil_core.models.norm import RmsNorm


@pytest.mark.parametrize("shape", [(7, 12), (2, 5, 12)])
def test_equals_the_norm_of_torch_with_its_gradients(shape: tuple[int, ...]) -> None:
    torch.manual_seed(0)
    norm = RmsNorm(12, epsilon=1e-2).double()
    with torch.no_grad():
        norm.weight.normal_()
    x = torch.randn(shape, dtype=torch.float64, requires_grad=True)
    weight = norm.weight.detach().requires_grad_()
    ours, theirs = norm(x), functional.rms_norm(x, (12,), weight, 1e-2)
    torch.testing.assert_close(ours, theirs)
    gradient = torch.randn_like(ours)
    found = torch.autograd.grad(ours, [x, norm.weight], gradient)
    for one, other in zip(found, torch.autograd.grad(theirs, [x, weight], gradient), strict=True):
        torch.testing.assert_close(one, other)
    with torch.no_grad():
        torch.testing.assert_close(norm(x), ours)


def test_is_exact_for_features_in_bfloat16() -> None:
    norm = RmsNorm(8, epsilon=1e-5)
    x = torch.randn(3, 8).bfloat16().requires_grad_()
    with torch.autocast("cpu", torch.bfloat16):
        y = norm(x)
    assert y.dtype == torch.float32
    y.sum().backward()
    assert x.grad is not None
