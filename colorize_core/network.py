"""The networks: luminance in, chroma out."""

from typing import Literal

import torch
from torch import Tensor, nn
from torchvision.models import ResNet18_Weights, resnet18

Upsampling = Literal["deconv", "nearest"]


class ResNet18Colorizer(nn.Module):
    """The seed's network: ResNet-18 through layer2, then convolutions with three 2x upscalings; no skips.

    ``upsampling`` is "nearest" (954,722 parameters, the seed's code) or "deconv" (transposed convolutions,
    4x4, the seed's text). ``pretrained`` starts the encoder from torchvision's ImageNet weights, with the
    RGB filters of the first convolution summed into one; it needs a network or torchvision's cache and
    raises ``OSError`` where it has neither.
    """

    stride = 8  # height and width of the input must be multiples of this

    def __init__(self, upsampling: Upsampling = "nearest", pretrained: bool = False):
        super().__init__()
        if upsampling not in ("deconv", "nearest"):
            raise ValueError(f"upsampling must be 'deconv' or 'nearest', not {upsampling!r}")
        backbone = _pretrained_resnet18() if pretrained else resnet18()
        first = nn.Conv2d(1, 64, kernel_size=7, stride=2, padding=3, bias=False)
        if pretrained:
            first.weight.data = backbone.conv1.weight.data.sum(dim=1, keepdim=True)
        # (N, 1, H, W) -> (N, 128, H/8, W/8)
        self.encoder = nn.Sequential(first, *list(backbone.children())[1:6])

        def conv(inputs, outputs):
            return nn.Conv2d(inputs, outputs, 3, padding=1), nn.BatchNorm2d(outputs), nn.ReLU()

        def double(channels):
            if upsampling == "nearest":
                return nn.Upsample(scale_factor=2)
            return nn.ConvTranspose2d(channels, channels, 4, stride=2, padding=1)

        # (N, 128, H/8, W/8) -> (N, 2, H, W)
        self.decoder = nn.Sequential(
            *conv(128, 128), double(128), *conv(128, 64), *conv(64, 64), double(64),
            *conv(64, 32), nn.Conv2d(32, 2, 3, padding=1), double(2),
        )  # fmt: skip

    def forward(self, lightness: Tensor) -> Tensor:
        """CIE L* in [0, 100], (N, 1, H, W), to ab in CIE units, (N, 2, H, W); unbounded."""
        return 100 * self.decoder(self.encoder(lightness / 50 - 1))


def _pretrained_resnet18() -> nn.Module:
    try:
        return resnet18(weights=ResNet18_Weights.IMAGENET1K_V1)
    except OSError as error:
        raise OSError(
            f"torchvision's ResNet-18 weights could not be downloaded ({error}). Train without --pretrained, or "
            f"put the file of {ResNet18_Weights.IMAGENET1K_V1.url} into {torch.hub.get_dir()}/checkpoints."
        ) from error


NETWORKS: dict[str, type[nn.Module]] = {"resnet18": ResNet18Colorizer}


def build(name: str, **settings) -> nn.Module:
    """A network by its name in ``NETWORKS``. Raises ``ValueError`` for an unknown name or setting."""
    if name not in NETWORKS:
        raise ValueError(f"there is no network called {name!r}; choose one of: {', '.join(NETWORKS)}")
    try:
        return NETWORKS[name](**settings)
    except TypeError as error:
        raise ValueError(f"network {name!r} does not take these settings: {error}") from error
