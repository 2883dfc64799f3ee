"""VGG19 features: torchvision's layout and what official code gets from it."""

from __future__ import annotations

import pytest
import torch
import torchvision
from torch import nn

from benchmark.errors import UsageError, WeightsError
from benchmark.zoo import ModelZoo
from benchmark.zoo.mini.vgg import VggClassifier
from benchmark.zoo.vgg import CONV_INDICES, IMAGENET_MEAN, IMAGENET_STD, MINI_WIDTHS, VggFeatures


@pytest.fixture(scope="module")
def official() -> nn.Module:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model: nn.Module = torchvision.models.vgg19(weights=None).eval()
    return model


def test_torchvision_checkpoints_load_and_give_what_upstream_stores(official: nn.Module) -> None:
    """ZeCon (YSerin/ZeCon 51e679e, ``get_features``) keeps what index 0 or 5 put out.

    torchvision's ReLU works in place, so by the time the loss reads them they are rectified. Here
    torchvision's own layers run over the same input, with random weights.
    """
    vgg = VggFeatures.from_state_dict(official.state_dict())
    images = torch.rand(2, 3, 32, 32, generator=torch.Generator().manual_seed(0)) * 2 - 1
    normalise = torchvision.transforms.Normalize(IMAGENET_MEAN, IMAGENET_STD)
    stored: dict[int, torch.Tensor] = {}
    with torch.no_grad():
        x = normalise(images)
        for index, layer in enumerate(official.features):  # type: ignore[arg-type]
            x = stored[index] = layer(x)
    names = ("conv1_1", "conv2_1", "conv3_1", "conv4_2", "conv5_1")
    found = vgg(images, names)
    assert tuple(found) == names
    for name in names:
        assert torch.allclose(found[name], stored[CONV_INDICES[name]], atol=1e-6)
        assert found[name].min() >= 0


def test_indices_are_those_of_torchvision(official: nn.Module) -> None:
    convs = [
        index
        for index, layer in enumerate(official.features)  # type: ignore[arg-type]
        if isinstance(layer, nn.Conv2d)
    ]
    assert list(CONV_INDICES.values()) == convs
    assert (CONV_INDICES["conv1_1"], CONV_INDICES["conv2_1"], CONV_INDICES["conv5_4"]) == (0, 5, 34)


def test_shipped_features_are_an_eighth_as_wide_and_differentiable() -> None:
    vgg = ModelZoo({"vgg": "mini-vgg"}).vgg()
    images = torch.zeros(1, 3, 64, 64, requires_grad=True)
    maps = vgg(images, ("conv5_1", "conv1_2"))
    assert maps["conv1_2"].shape == (1, 8, 64, 64) and maps["conv5_1"].shape == (1, 64, 4, 4)
    maps["conv5_1"].sum().backward()
    assert images.grad is not None and images.grad.abs().sum() > 0
    assert vgg.state_dict().keys() == {
        f"features.{i}.{part}" for i in CONV_INDICES.values() for part in ("weight", "bias")
    }


def test_no_layer_of_the_shipped_features_is_dead() -> None:
    vgg = ModelZoo({"vgg": "mini-vgg"}).vgg()
    images = torch.rand(8, 3, 64, 64, generator=torch.Generator().manual_seed(0)) * 2 - 1
    for name, maps in vgg(images, tuple(CONV_INDICES)).items():
        assert maps.std() > 1e-3, name
        assert (maps.amax((0, 2, 3)) > 0).float().mean() > 0.5, name


def test_folding_takes_the_normalisation_out_without_changing_the_features() -> None:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = VggClassifier(3).train()
        images = torch.rand(8, 3, 64, 64) * 2 - 1
    with torch.no_grad():
        model(images * 0.5)  # moves the running statistics
        model.eval()
        pooled = model.folded().pooled(images)
        logits = model(images)
    assert torch.allclose(model.heads["style"](pooled), logits["style"], atol=1e-4)


def test_wrong_input_is_explained() -> None:
    vgg = VggFeatures(MINI_WIDTHS)
    with pytest.raises(UsageError, match=r"unknown VGG layer 'conv1_3': choose among conv1_1"):
        vgg(torch.zeros(1, 3, 8, 8), ("conv1_1", "conv1_3"))
    with pytest.raises(UsageError, match="unknown VGG layer"):
        vgg(torch.zeros(1, 3, 8, 8), ())
    with pytest.raises(WeightsError, match=r"no features\.0\.weight, so it is not a VGG19"):
        VggFeatures.from_state_dict({"conv.weight": torch.zeros(1)})
    short = {key: value for key, value in vgg.state_dict().items() if "features.34" not in key}
    with pytest.raises(WeightsError, match=r"features\.34\.weight"):
        VggFeatures.from_state_dict(short)
