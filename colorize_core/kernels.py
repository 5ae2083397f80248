"""The loops over every pixel of a scan that ``color`` runs, compiled by Numba: one pass over memory instead of forty.

Both work line by line, in stages over arrays of one line, since a compiler vectorises arithmetic that no table look-up
interrupts. ``tables`` are those of ``color.Tables``, whose precision the arithmetic has. Numba takes a third of a
second to import, so ``color`` imports this where pixels are at hand.
"""

import numba
import numpy as np


def compiled(function):
    """On the first call on a machine, which takes seconds; kept beside this file or in the user's cache."""
    options = {"nogil": True, "error_model": "numpy"}
    try:
        return numba.njit(cache=True, **options)(function)
    except RuntimeError:  # nowhere to keep it
        return numba.njit(**options)(function)


@compiled
def merge(grey, planes, tables, luminance, from_xz, rgb):
    """Fill ``rgb``, (H, W, 3), with the colours of ``color.merge``.

    ``planes`` is (h, w, 4), a and b as constants and slopes over L*, enlarged bilinearly, pixel centres aligned.
    ``luminance`` are the weights of linear R, G and B in Y, and ``from_xz``, (2, 2), those of X and Z, divided by white
    and less Y, in linear red and blue less Y.
    """
    height, width = grey.shape
    h, w = planes.shape[:2]
    kind, place = tables.linear.dtype, np.uint32
    number = kind.type
    zero, one, half, tiny = number(0), number(1), number(0.5), number(1e-9)
    steps = number(len(tables.encode) - 1)
    knee, offset, slope = number(0.2068966), number(16 / 116), number(1 / 7.787)
    l_per_f, sixteen = number(116), number(16)
    per_a, per_b = number(1 / 500), number(1 / 200)
    w_red, w_green, w_blue = luminance
    minus_green, per_green = -one / w_green, one / w_green

    left, share = np.empty(width, place), np.empty(width, np.float32)
    for x in range(width):
        at = min(max((x + 0.5) * w / width - 0.5, 0.0), w - 1.0)
        left[x] = int(at)
        share[x] = at - int(at)
    # The planes of the two lines of ``planes`` between which a row lies: the upper one, and what the lower one adds.
    a_0, a_1, b_0, b_1 = np.empty(width, kind), np.empty(width, kind), np.empty(width, kind), np.empty(width, kind)
    da_0, da_1, db_0, db_1 = np.empty(width, kind), np.empty(width, kind), np.empty(width, kind), np.empty(width, kind)
    there = -1
    # Of one line. Parts of one large array would not do: the compiler could not tell that they are apart.
    a, b = np.empty(width, kind), np.empty(width, kind)
    y, f, rest = np.empty(width, kind), np.empty(width, kind), np.empty(width, kind)
    red, green, blue = np.empty(width, place), np.empty(width, place), np.empty(width, place)  # in tables.encode
    for row in range(height):
        at = min(max((row + 0.5) * h / height - 0.5, 0.0), h - 1.0)
        upper = int(at)
        lower, t = min(upper + 1, h - 1), number(at - upper)
        if upper != there:
            _line(planes, upper, lower, 0, left, share, a_0, da_0)
            _line(planes, upper, lower, 1, left, share, b_0, db_0)
            _line(planes, upper, lower, 2, left, share, a_1, da_1)
            _line(planes, upper, lower, 3, left, share, b_1, db_1)
            there = upper
        for x in range(width):
            level = grey[row, x]
            y[x], f[x] = tables.linear[level], tables.f[level]
        for x in range(width):
            l_star = l_per_f * f[x] - sixteen
            a[x] = a_0[x] + t * da_0[x] + l_star * (a_1[x] + t * da_1[x])
            b[x] = b_0[x] + t * db_0[x] + l_star * (b_1[x] + t * db_1[x])

        # Linear light as differences from the neutral, scaled by the largest factor <= 1 that stays inside sRGB.
        for x in range(width):
            fx, fz = f[x] + a[x] * per_a, f[x] - b[x] * per_b
            dx = (fx * fx * fx if fx > knee else (fx - offset) * slope) - y[x]
            dz = (fz * fz * fz if fz > knee else (fz - offset) * slope) - y[x]
            r = from_xz[0, 0] * dx + from_xz[0, 1] * dz
            bl = from_xz[1, 0] * dx + from_xz[1, 1] * dz
            g = (w_red * r + w_blue * bl) * minus_green
            above, below = r if r > g else g, r if r < g else g
            above, below = above if above > bl else bl, below if below < bl else bl
            room, depth = (one - y[x]) / (above if above > tiny else tiny), y[x] / (-below if -below > tiny else tiny)
            scale = room if room < depth else depth
            scale = scale if scale < one else one
            r, bl = y[x] + scale * r, y[x] + scale * bl
            r, bl = r if r > zero else zero, bl if bl > zero else zero
            red[x] = np.int32((r if r < one else one) * steps + half)
            blue[x] = np.int32((bl if bl < one else one) * steps + half)

        # Red and blue are rounded; green carries 72 % of the luminance and is solved for, so what remains is
        # green's own rounding: below half a level of grey wherever the solution lies inside [0, 1].
        for x in range(width):
            r, bl = tables.encode[red[x]], tables.encode[blue[x]]
            rgb[row, x, 0], rgb[row, x, 2] = r, bl
            rest[x] = y[x] - w_red * tables.linear[r] - w_blue * tables.linear[bl]
        for x in range(width):
            g = rest[x] * per_green
            g = g if g > zero else zero
            green[x] = np.int32((g if g < one else one) * steps + half)
        for x in range(width):
            g, level = tables.encode[green[x]], grey[row, x]
            rgb[row, x, 1] = g
            reached = y[x] - rest[x] + w_green * tables.linear[g]
            if reached < tables.safe_low[level] or reached > tables.safe_high[level]:
                _nearest_neighbour(rgb[row, x], level, tables, luminance)


@numba.njit
def _line(planes, upper, lower, plane, left, share, line, difference):
    """Enlarge one plane of a line of ``planes``, and its difference to the next line, to a line of the picture."""
    last = planes.shape[1] - 1
    for x in range(len(line)):
        i, s = left[x], share[x]
        j = min(i + 1, last)
        above = planes[upper, i, plane] + s * (planes[upper, j, plane] - planes[upper, i, plane])
        below = planes[lower, i, plane] + s * (planes[lower, j, plane] - planes[lower, i, plane])
        line[x], difference[x] = above, below - above


@numba.njit
def _nearest_neighbour(rgb, level, tables, luminance):
    """Replace ``rgb``, (3,), by the colour within one level per channel whose luminance is nearest to the level's, or
    by the neutral where even that one has another grey level."""
    top, y = len(tables.linear) - 1, tables.linear[level]
    best, reached = -1.0, y
    r0, g0, b0 = np.int64(rgb[0]), np.int64(rgb[1]), np.int64(rgb[2])
    for r in range(max(r0 - 1, 0), min(r0 + 1, top) + 1):
        for g in range(max(g0 - 1, 0), min(g0 + 1, top) + 1):
            for b in range(max(b0 - 1, 0), min(b0 + 1, top) + 1):
                found = _luminance(r, g, b, tables, luminance)
                if best < 0 or abs(found - y) < best:
                    best, reached = abs(found - y), found
                    rgb[0], rgb[1], rgb[2] = r, g, b
    if reached < tables.low[level] or reached >= tables.high[level]:
        rgb[:] = level


@numba.njit(inline="always")
def _luminance(r, g, b, tables, luminance):
    return luminance[0] * tables.linear[r] + luminance[1] * tables.linear[g] + luminance[2] * tables.linear[b]


@compiled
def grey_of(rgb, tables, luminance, grey):
    """Fill ``grey``, (H, W), with the levels of ``color.grey_of``."""
    height, width = grey.shape
    number = tables.linear.dtype.type
    zero, one, half, steps = number(0), number(1), number(0.5), number(len(tables.encode) - 1)
    for row in range(height):
        for x in range(width):
            y = _luminance(rgb[row, x, 0], rgb[row, x, 1], rgb[row, x, 2], tables, luminance)
            level = np.int64(tables.encode[np.int32(min(max(y, zero), one) * steps + half)])
            # The nearest level in code and in L* differ by at most one.
            if y < tables.low[level]:
                level -= 1
            elif y >= tables.high[level]:
                level += 1
            grey[row, x] = level


@compiled
def chroma_beside(levels, rgb, codes, chroma):
    """Fill ``chroma``, (2, H, W) uint8, with JFIF's Cb and Cr of ``rgb``, (H, W, 3) uint8, for a luma of ``levels``.

    ``codes`` turns a level of ``rgb`` into one of the file's, float32. Where luma and chroma leave [0, 255] together,
    chroma is scaled down.
    """
    height, width = levels.shape
    number = np.float32
    half, white, one, tiny = number(128.5), number(255), number(1), number(1e-6)
    w_red, w_green, w_blue = number(0.299), number(0.587), number(0.114)
    per_blue, per_red = number(0.5 / (1 - 0.114)), number(0.5 / (1 - 0.299))
    red, green, blue = np.empty(width, number), np.empty(width, number), np.empty(width, number)  # of one line
    for row in range(height):
        line, cb, cr = levels[row], chroma[0, row], chroma[1, row]
        for x in range(width):
            red[x], green[x], blue[x] = codes[rgb[row, x, 0]], codes[rgb[row, x, 1]], codes[rgb[row, x, 2]]
        for x in range(width):
            luma, level = w_red * red[x] + w_green * green[x] + w_blue * blue[x], number(line[x])
            r, g, b = red[x] - luma, green[x] - luma, blue[x] - luma
            above, below = r if r > g else g, r if r < g else g
            above, below = above if above > b else b, below if below < b else b
            room, depth = (
                (white - level) / (above if above > tiny else tiny),
                level / (-below if -below > tiny else tiny),
            )
            scale = room if room < depth else depth
            scale = scale if scale < one else one
            cb[x] = np.uint8(np.int32(half + scale * per_blue * b))
            cr[x] = np.uint8(np.int32(half + scale * per_red * r))
