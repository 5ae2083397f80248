"""How near a colouring is to the truth, and how colourful it is."""

import numpy as np
from skimage.color import deltaE_ciede2000, rgb2lab
from skimage.metrics import structural_similarity


def psnr(truth: np.ndarray, image: np.ndarray) -> float:
    """Peak signal-to-noise ratio in dB of two sRGB images, (H, W, 3) uint8, peak 255. Infinite where equal."""
    error = np.mean((truth.astype(np.float64) - image) ** 2)
    return float(10 * np.log10(255**2 / error)) if error else float("inf")


def ssim(truth: np.ndarray, image: np.ndarray) -> float:
    """Structural similarity of two sRGB images, (H, W, 3) uint8, mean over channels (Wang et al. 2004); at most 1."""
    return float(structural_similarity(truth, image, channel_axis=2, data_range=255))


def ciede2000(truth: np.ndarray, image: np.ndarray) -> float:
    """Mean CIEDE2000 colour difference of two sRGB images, (H, W, 3) uint8; 0 where equal, about 1 just noticeable."""
    return float(deltaE_ciede2000(rgb2lab(truth), rgb2lab(image)).mean())


def colorfulness(image: np.ndarray) -> float:
    """Colourfulness M3 of Hasler and Suesstrunk (2003) of an sRGB image, (H, W, 3) uint8 or uint16, on the 8-bit scale.

    0 for a grey image, about 30 to 60 for most colour photographs.
    """
    scale = 1 if image.dtype == np.uint8 else 1 / 257
    red, green, blue = np.moveaxis(image.astype(np.float32) * scale, -1, 0)
    rg, yb = red - green, (red + green) / 2 - blue
    return float(np.hypot(rg.std(), yb.std()) + 0.3 * np.hypot(rg.mean(), yb.mean()))
