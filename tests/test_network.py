import pytest
import torch

from colorize_core import network


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
