"""What training minimises: the distance between predicted and true chroma."""

from typing import Literal

import torch.nn.functional as F
from torch import Tensor

Objective = Literal["huber", "mse"]


def chroma_loss(predicted: Tensor, target: Tensor, objective: Objective = "huber") -> Tensor:
    """Mean loss over ab in CIE units, (N, 2, H, W) each; a scalar.

    "huber" is quadratic up to 10 units and linear beyond, divided by 110, the reach of ab in sRGB. "mse" is
    the mean squared error in the seed's units, (ab + 128) / 255. Raises ``ValueError`` for another name.
    """
    if objective == "huber":
        return F.huber_loss(predicted / 110, target / 110, delta=10 / 110)
    if objective == "mse":
        return F.mse_loss(predicted, target) / 255**2
    raise ValueError(f"objective must be 'huber' or 'mse', not {objective!r}")
