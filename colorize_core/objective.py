"""What training minimises, and ab cut into bins, so that a network can give a distribution over colours."""

from functools import lru_cache
from typing import TYPE_CHECKING, Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from colorize_core import distribution
from colorize_core.distribution import REACH, STEP

if TYPE_CHECKING:
    from colorize_core.network import Network

Objective = Literal["huber", "mse", "cross-entropy"]


def default(network: "Network") -> Objective:
    """What a network is made for: "cross-entropy" where it gives a distribution, else "huber"."""
    return "cross-entropy" if hasattr(network, "cross_entropy") else "huber"


def loss(network: "Network", output: Tensor, ab: Tensor, objective: Objective) -> Tensor:
    """Mean loss of a network's ``output`` against the true ab in CIE units, (N, 2, H, W), NaN where it is not known; a
    scalar.

    "cross-entropy" takes a network that gives a distribution; the others compare its ``chroma``, enlarged to ab's size.
    Raises ``ValueError`` for an objective that does not exist or that the network has no distribution for.
    """
    if objective != "cross-entropy":
        return chroma_loss(enlarged(network.chroma(output), ab), ab, objective)
    if not hasattr(network, "cross_entropy"):
        raise ValueError("the network gives no distribution over colours: choose --objective huber or mse")
    return network.cross_entropy(output, ab)


def enlarged(chroma: Tensor, ab: Tensor) -> Tensor:
    """Bilinearly, to the height and width of ``ab``."""
    if chroma.shape[2:] == ab.shape[2:]:
        return chroma
    return F.interpolate(chroma, ab.shape[2:], mode="bilinear")


def chroma_loss(predicted: Tensor, target: Tensor, objective: Objective = "huber") -> Tensor:
    """Mean loss over ab in CIE units, (N, 2, H, W) each, over where the target is not NaN; a scalar.

    "huber" is quadratic up to 10 units and linear beyond, divided by 110, the reach of ab in sRGB. "mse" is
    the mean squared error in the seed's units, (ab + 128) / 255. Raises ``ValueError`` for another name.
    """
    known = target.isfinite()
    target, number = torch.where(known, target, predicted.detach()), known.sum().clamp(min=1)
    if objective == "huber":
        return F.huber_loss(predicted / 110, target / 110, delta=10 / 110, reduction="sum") / number
    if objective == "mse":
        return F.mse_loss(predicted, target, reduction="sum") / number / 255**2
    raise ValueError(f"objective must be 'huber', 'mse' or 'cross-entropy', not {objective!r}")


def bins() -> Tensor:
    """``distribution.bins``, float32 (290, 2)."""
    return torch.from_numpy(distribution.bins())


@lru_cache
def _bin_of_node() -> Tensor:
    """For each node of the grid its bin, or the nearest one."""
    return torch.cdist(torch.from_numpy(distribution.grid()), bins()).argmin(1)


def encode(ab: Tensor) -> tuple[Tensor, Tensor]:
    """ab in CIE units, (N, 2, H, W), as a distribution over bins: their indices and weights, (N, 4, H, W) each.

    The weights are those of bilinear interpolation between the four nodes around a colour, so that the mean of the
    distribution is the colour itself (where all four are bins).
    """
    place = (ab.clamp(-REACH, REACH - 1e-3) + REACH) / STEP
    corner = place.floor()
    ta, tb = (place - corner).unbind(1)
    a, b = corner.long().unbind(1)
    side = 2 * REACH // STEP + 1
    nodes = torch.stack([a * side + b, a * side + b + 1, (a + 1) * side + b, (a + 1) * side + b + 1], 1)
    weights = torch.stack([(1 - ta) * (1 - tb), (1 - ta) * tb, ta * (1 - tb), ta * tb], 1)
    return _bin_of_node().to(ab.device)[nodes], weights
