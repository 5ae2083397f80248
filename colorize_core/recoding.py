"""The loops that write a scan of a JPEG's bits again from luma's coefficients, compiled by Numba; see ``recipe``.

As in ``blocks``, whose words these are. ``coefficients`` are luma's, flat. ``out`` has room for ``SPARE`` bytes more
than are wanted; where they are not enough, what is returned is ``DAMAGED``, and bits are those of another scan.
"""

import numba
import numpy as np

from colorize_core.blocks import (
    DAMAGED,
    DC_FIRST,
    DC_REFINED,
    SHORT,
    SIZES,
    ended,
    extended,
    long_symbol,
    look,
    top,
    written,
)
from colorize_core.kernels import compiled

SPARE = 1024  # what a block takes at most, and the markers around it
_CORRECTIONS = 937  # bits for which libjpeg ends a run of blocks: its MAX_CORR_BITS - DCTSIZE2 + 1


@compiled
def written_again(out, layout, units, spectrum, kind, restart, codes, tables, coefficients, aside):
    """The bits of a sequential scan, or of a progressive one of DC; returns how many bytes there are.

    ``aside`` has the bits of all that is no luma of the picture, and some bytes behind them.
    """
    low, there = spectrum[2], (len(aside) - 16) * 8
    predictions = np.zeros(4, np.int64)
    held, count, size, at = np.uint64(0), 0, 0, 0
    left, intervals = restart if restart else units[0] * units[1], 0
    for down in range(units[0]):
        for across in range(units[1]):
            if left == 0:
                held, count, size = _marked(held, count, out, size, intervals)
                intervals, left = intervals + 1, restart
                predictions[:] = 0
            left -= 1
            for c in range(len(layout)):
                rows, columns, v, h = layout[c, 1], layout[c, 2], layout[c, 3], layout[c, 4]
                of_dc, of_ac = codes[layout[c, 5]], codes[layout[c, 6]]
                for y in range(v):
                    for x in range(h):
                        if size + SPARE > len(out):
                            return DAMAGED
                        row, column = down * v + y, across * h + x
                        if layout[c, 0] or row >= rows or column >= columns:
                            end, difference = _block(aside, at, kind, layout[c, 5], layout[c, 6], tables)
                            predictions[c] += difference  # what pads luma may have values of its own
                            if end < 0 or end > there:
                                return DAMAGED
                            while at < end:
                                some = min(16, end - at)
                                piece = top(look(aside, at), some) << 5 | some
                                held, count, size = written(piece, 0, 0, held, count, out, size)
                                at += some
                            continue
                        base = (row * columns + column) * 64
                        value = np.int64(coefficients[base]) >> low
                        if kind == DC_REFINED:
                            held, count, size = written((value & 1) << 5 | 1, 0, 0, held, count, out, size)
                            continue
                        difference = value - predictions[c]
                        predictions[c] = value
                        bits = np.int64(SIZES[abs(difference)])
                        held, count, size = written(of_dc[bits], difference, bits, held, count, out, size)
                        if kind == DC_FIRST:
                            continue
                        zeros = 0
                        for k in range(base + 1, base + 64):
                            value = np.int64(coefficients[k])
                            if value == 0:
                                zeros += 1
                                continue
                            while zeros > 15:
                                held, count, size = written(of_ac[0xF0], 0, 0, held, count, out, size)
                                zeros -= 16
                            bits = np.int64(SIZES[abs(value)])
                            code = of_ac[(zeros << 4 | bits) & 255]
                            held, count, size = written(code, value, bits, held, count, out, size)
                            zeros = 0
                        if zeros:
                            held, count, size = written(of_ac[0], 0, 0, held, count, out, size)
    return ended(held, count, out, size)[2]


@numba.njit
def _block(bits, at, kind, dc, ac, tables):
    """Where a block ends that begins at a place, ``DAMAGED`` where it does not, and the difference of its DC."""
    short, lasts, offsets, symbols, _ = tables
    if kind == DC_REFINED:
        return at + 1, 0
    k, difference = 0, 0
    while k < 64:
        window, table = look(bits, at), ac if k else dc
        entry = np.int64(short[table, top(window, SHORT)])
        length, symbol = entry >> 8, entry & 255
        if length == 0:
            length, symbol = long_symbol(window, table, lasts, offsets, symbols)
            if length == 0:
                return DAMAGED, 0
        size = symbol & 15
        at += length + size
        if at + 64 > len(bits) * 8:
            return DAMAGED, 0
        if k == 0:
            if size:
                difference = extended(top(window << np.uint64(length), size), size)
            if kind == DC_FIRST:
                break
            k = 1
            continue
        if symbol == 0:
            break
        k += (symbol >> 4) + 1
    return at, difference


@compiled
def band_written_again(out, spectrum, refined, restart, codes, coefficients):
    """The bits of a progressive scan of a band of AC, as libjpeg writes them; returns how many bytes there are.

    ``codes``, (256,), are those of its table.
    """
    first, last, low = spectrum
    held, count, size, intervals = np.uint64(0), 0, 0, 0
    blocks, before = 0, 0  # that have ended and are not yet told, and corrections in them
    corrections = np.zeros(1024, np.uint8)
    magnitudes = np.zeros(64, np.int64)
    for block in range(len(coefficients) // 64):
        if size + SPARE > len(out):
            return DAMAGED
        if restart and block and block % restart == 0:
            held, count, size = _told(blocks, codes, corrections, 0, before, held, count, out, size)
            held, count, size = _marked(held, count, out, size, intervals)
            intervals, blocks, before = intervals + 1, 0, 0
        base, newest = block * 64, 0  # newest: the last coefficient that was zero so far
        for k in range(first, last + 1):
            magnitudes[k] = abs(np.int64(coefficients[base + k])) >> low
            if magnitudes[k] == 1:
                newest = k
        zeros, own = 0, 0
        for k in range(first, last + 1):
            magnitude = magnitudes[k]
            if magnitude == 0:
                zeros += 1
                continue
            while zeros > 15 and (not refined or k <= newest):
                held, count, size = _told(blocks, codes, corrections, 0, before, held, count, out, size)
                held, count, size = written(codes[0xF0], 0, 0, held, count, out, size)
                held, count, size = _told(0, codes, corrections, before, before + own, held, count, out, size)
                blocks, before, own = 0, 0, 0
                zeros -= 16
            if refined and magnitude > 1:
                corrections[before + own] = magnitude & 1
                own += 1
                continue
            held, count, size = _told(blocks, codes, corrections, 0, before, held, count, out, size)
            negative, bits = coefficients[base + k] < 0, np.int64(SIZES[magnitude])
            code = codes[(zeros << 4 | bits) & 255]
            held, count, size = written(code, -magnitude if negative else magnitude, bits, held, count, out, size)
            held, count, size = _told(0, codes, corrections, before, before + own, held, count, out, size)
            blocks, before, own, zeros = 0, 0, 0, 0
        if zeros or own:
            blocks, before = blocks + 1, before + own
            if blocks == 0x7FFF or before > _CORRECTIONS:
                held, count, size = _told(blocks, codes, corrections, 0, before, held, count, out, size)
                blocks, before = 0, 0
    held, count, size = _told(blocks, codes, corrections, 0, before, held, count, out, size)
    return ended(held, count, out, size)[2]


@numba.njit
def _told(blocks, codes, corrections, begin, end, held, count, out, size):
    """How many blocks in a row have ended, if any, and corrections ``begin`` to ``end`` (G.1.2.2, G.1.2.3)."""
    if blocks:
        bits = np.int64(SIZES[blocks]) - 1
        held, count, size = written(codes[bits << 4], 0, 0, held, count, out, size)
        if bits:
            number = (blocks & ((1 << bits) - 1)) << 5 | bits
            held, count, size = written(number, 0, 0, held, count, out, size)
    for i in range(begin, end):
        held, count, size = written(np.int64(corrections[i]) << 5 | 1, 0, 0, held, count, out, size)
    return held, count, size


@numba.njit
def _marked(held, count, out, size, intervals):
    """The end of a restart interval, and the marker after it."""
    held, count, size = ended(held, count, out, size)
    out[size], out[size + 1] = 0xFF, 0xD0 + (intervals & 7)
    return held, count, size + 2
