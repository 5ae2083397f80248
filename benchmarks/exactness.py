"""How many pixels keep their grey: our merge beside plain clipping, judged by scikit-image.

    python -m benchmarks.exactness

A pixel is kept when the colour's CIE L* (``skimage.color.rgb2lab``, float64) is nearest to the L* of the very
grey level it was made from, at the output's bit depth. Plain clipping is ``skimage.color.lab2rgb``, rounded.
"""

from colorize_core import color
from tests.oracle import cases, fraction_kept, plain_clipping


def main() -> None:
    print(f"{'fraction of pixels that keep their grey':64} {'ours':>9} {'clipping':>9}")
    for name, (grey, ab) in cases().items():
        ours = fraction_kept(grey, color.merge(grey, ab))
        print(f"{name:64} {ours:9.6f} {fraction_kept(grey, plain_clipping(grey, ab)):9.6f}", flush=True)


if __name__ == "__main__":
    main()
