"""How near a colouring is to the truth, and how colourful it is."""

import cv2
import numpy as np

from colorize_core import color

# PyTorch and scikit-image are imported where they are used: a job's driver needs neither.

EDGES = 0.05  # share of pixels that count as the edges of a picture's colours
NEAR = 2  # pixels


def psnr(truth: np.ndarray, image: np.ndarray) -> float:
    """Peak signal-to-noise ratio in dB of two sRGB images, (H, W, 3) uint8, peak 255. Infinite where equal."""
    error = np.mean((truth.astype(np.float64) - image) ** 2)
    return float(10 * np.log10(255**2 / error)) if error else float("inf")


def ssim(truth: np.ndarray, image: np.ndarray) -> float:
    """Structural similarity of two sRGB images, (H, W, 3) uint8, mean over channels (Wang et al. 2004); at most 1."""
    from skimage.metrics import structural_similarity

    return float(structural_similarity(truth, image, channel_axis=2, data_range=255))


def ciede2000(truth: np.ndarray, image: np.ndarray) -> float:
    """Mean CIEDE2000 colour difference of two sRGB images, (H, W, 3) uint8; 0 where equal, about 1 just noticeable."""
    from skimage.color import deltaE_ciede2000, rgb2lab

    return float(deltaE_ciede2000(rgb2lab(truth), rgb2lab(image)).mean())


def colorfulness(image: np.ndarray) -> float:
    """Colourfulness M3 of Hasler and Suesstrunk (2003) of an sRGB image, (H, W, 3) uint8 or uint16, on the 8-bit scale.

    0 for a grey image, about 30 to 60 for most colour photographs.
    """
    scale = 1 if image.dtype == np.uint8 else 1 / 257
    red, green, blue = np.moveaxis(image.astype(np.float32) * scale, -1, 0)
    rg, yb = red - green, (red + green) / 2 - blue
    return float(np.hypot(rg.std(), yb.std()) + 0.3 * np.hypot(rg.mean(), yb.mean()))


def near_edges(truth: np.ndarray, image: np.ndarray) -> float:
    """Mean distance in ab, CIE units, of two sRGB images, (H, W, 3) uint8, near the edges of the truth's colours.

    Those are the twentieth of pixels where its ab changes the most (Sobel), and what lies within 2 pixels of them.
    Colour that bleeds over edges raises it. Where the truth has no edges, it is over all pixels.
    """
    true, ours = (color.rgb_to_lab(rgb)[..., 1:] for rgb in (truth, image))
    change = sum(np.abs(cv2.Sobel(true, cv2.CV_32F, dx, 1 - dx)).sum(axis=2) ** 2 for dx in (0, 1))
    edges = ((change >= np.quantile(change, 1 - EDGES)) & ((change > 0) | (change.max() == 0))).astype(np.uint8)
    near = cv2.dilate(edges, np.ones((2 * NEAR + 1, 2 * NEAR + 1), np.uint8)) > 0
    return float(np.linalg.norm(true - ours, axis=2)[near].mean())


class Lite0Features:
    """What EfficientNet-Lite0, trained on ImageNet, sees in an image: the features of a Frechet distance.

    Raises ``OSError`` where its weights are not installed.
    """

    SIZE = 320

    def __init__(self):
        from colorize_core.network import LiteEncoder

        self.encoder = LiteEncoder(0, 3, pretrained=True).eval()

    def __call__(self, image: np.ndarray) -> np.ndarray:
        """Of the quarters of an sRGB image, (H, W, 3) uint8, its sides multiples of 64: the last layer's, (4, 320)."""
        import torch

        with torch.inference_mode():
            pixels = torch.from_numpy(image).permute(2, 0, 1)[None].to(memory_format=torch.channels_last)
            last = self.encoder.features(pixels.float() / 127.5 - 1)[-1]
            return torch.nn.functional.adaptive_avg_pool2d(last, 2)[0].flatten(1).T.numpy()


def frechet_distance(first: np.ndarray, second: np.ndarray) -> float:
    """Between two sets of features, (n, d) and (m, d), as normal distributions (Frechet 1957; Heusel et al. 2017).

    It depends on the features and on the number of images: compare only what was measured together.
    """
    means = [features.mean(axis=0, dtype=np.float64) for features in (first, second)]
    one, other = (np.cov(features.astype(np.float64), rowvar=False) for features in (first, second))
    values, vectors = np.linalg.eigh(one)
    root = vectors * np.sqrt(np.maximum(values, 0)) @ vectors.T
    both = np.sqrt(np.maximum(np.linalg.eigvalsh(root @ other @ root), 0)).sum()
    return float(((means[0] - means[1]) ** 2).sum() + np.trace(one) + np.trace(other) - 2 * both)
