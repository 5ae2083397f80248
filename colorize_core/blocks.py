"""The loops over a JPEG's entropy-coded bits and its blocks of 8 x 8 coefficients that ``jpeg`` runs, by Numba.

Sections are those of ITU T.81. ``planes`` are the coefficients of three components, flat and int16 each: block after
block in raster order, 64 of each in zigzag order. A component that is not there is empty. ``at`` is a place in bits.
Whatever is not as the standard has it gives a negative result, and nothing is read or written beyond an array.
"""

import numba
import numpy as np

from colorize_core.kernels import compiled

SPARE = 600  # bytes behind the bits, so that a block that goes on beyond their end is still within
SHORT = 10  # bits of the codes that one look at a table decodes
SEQUENTIAL, DC_FIRST, DC_REFINED, AC_FIRST, AC_REFINED = range(5)
DAMAGED = -1


@compiled
def unstuffed(data, start, bits, ends):
    """Copy entropy-coded bytes from ``data[start]`` on to ``bits``, without stuffing and markers (B.1.1.5, F.1.2.3).

    ``ends`` gets the number of bytes copied at the end of each restart interval. Returns where the marker is that ends
    them all, the number of intervals, and whether bytes fill up before markers; ``DAMAGED`` for restart markers out of
    turn, or where no marker follows.
    """
    i, j, intervals, filled = start, 0, 0, False
    last = len(data) - 1
    while i < last:
        byte = data[i]
        if byte != 0xFF:
            bits[j] = byte
            j += 1
            i += 1
            continue
        code = data[i + 1]
        if code == 0:
            bits[j] = 0xFF
            j += 1
            i += 2
        elif code == 0xFF:  # a fill byte
            i += 1
            filled = True
        else:
            if intervals == len(ends):
                return DAMAGED, 0, filled
            ends[intervals] = j
            intervals += 1
            if code & 0xF8 != 0xD0:
                bits[j : j + SPARE] = 0
                return i, intervals, filled
            if code & 7 != (intervals - 1) & 7:
                return DAMAGED, 0, filled
            i += 2
    return DAMAGED, 0, filled


@numba.njit
def look(bits, at):
    """The 57 bits or more that begin at a place, in the upper end of 64."""
    i = np.uint64(at >> 3)  # unsigned, or each index would be looked at for a sign, and the loads not become one
    word = np.uint64(bits[i]) << np.uint64(56)
    word |= np.uint64(bits[i + np.uint64(1)]) << np.uint64(48)
    word |= np.uint64(bits[i + np.uint64(2)]) << np.uint64(40)
    word |= np.uint64(bits[i + np.uint64(3)]) << np.uint64(32)
    word |= np.uint64(bits[i + np.uint64(4)]) << np.uint64(24)
    word |= np.uint64(bits[i + np.uint64(5)]) << np.uint64(16)
    word |= np.uint64(bits[i + np.uint64(6)]) << np.uint64(8)
    word |= np.uint64(bits[i + np.uint64(7)])
    return word << np.uint64(at & 7)


@numba.njit
def top(window, count):
    """The first ``count`` bits of a window, 1 to 32, as a number."""
    return np.int64(window >> np.uint64(64 - count))


@numba.njit
def long_symbol(window, table, lasts, offsets, symbols):
    """Length and symbol of a code longer than ``SHORT`` (F.2.2.3); length 0 where there is none."""
    for length in range(SHORT + 1, 17):
        code = top(window, length)
        if code <= lasts[table, length]:
            return length, np.int64(symbols[table, code + offsets[table, length]])
    return 0, 0


@numba.njit
def extended(value, size):
    """The number that ``size`` bits stand for (F.2.2.1)."""
    return value if value >> (size - 1) else value - (1 << size) + 1


@compiled
def decoded(bits, ends, restart, layout, units, spectrum, kind, tables, planes, places, aside):
    """Decode one scan into ``planes``; note in ``places``, (blocks, 2), of a sequential scan, where the bits of AC
    begin and end in each block of luma; and put aside the bits of all that is no luma of the picture, but a band's.

    These are the bits of chroma and of what pads units; ``aside`` has as many bytes as ``bits``.

    ``layout`` has a line for each component of the scan: its number, its rows and columns of blocks, its blocks in a
    unit (down, across), and the numbers of its tables for DC and AC. ``units`` is how many there are (down, across),
    ``spectrum`` the standard's Ss, Se and Al, ``tables`` those of ``jpeg._Tables``. Returns ``DAMAGED``, or how
    many bits were put aside, and whether all are as encoders write them: luma's follow from coefficients and tables.
    """
    short, lasts, offsets, symbols, quick = tables
    first, last, low = spectrum[0], spectrum[1], spectrum[2]
    put, usual = 0, True
    scratch = np.zeros(64, np.int16)  # of what pads units
    predictions = np.zeros(4, np.int64)
    at, end, interval, run = 0, ends[0] * 8, 0, 0  # run: blocks that end at once (G.1.2.2)
    left = restart if restart else units[0] * units[1]
    for down in range(units[0]):
        for across in range(units[1]):
            if left == 0:
                if at > end or end - at > 7 or interval + 1 == len(ends) or run:
                    return DAMAGED, False
                usual &= _ends_in_ones(bits, at, end)
                at, end, interval, left = ends[interval] * 8, ends[interval + 1] * 8, interval + 1, restart
                predictions[:] = 0
            left -= 1
            for c in range(len(layout)):
                plane, rows, columns = planes[layout[c, 0]], layout[c, 1], layout[c, 2]
                v, h, dc, ac = layout[c, 3], layout[c, 4], layout[c, 5], layout[c, 6]
                for y in range(v):
                    for x in range(h):
                        row, column = down * v + y, across * h + x
                        inside = row < rows and column < columns
                        base = (row * columns + column) * 64 if inside else 0
                        coefficients = plane if inside else scratch
                        begun = at
                        if kind in (SEQUENTIAL, DC_FIRST):
                            window = look(bits, at)
                            entry = np.int64(short[dc, top(window, SHORT)])
                            length, size = entry >> 8, entry & 255
                            if length == 0:
                                length, size = long_symbol(window, dc, lasts, offsets, symbols)
                            if length == 0 or size > 11:
                                return DAMAGED, False
                            if size:
                                predictions[c] += extended(top(window << np.uint64(length), size), size)
                                if not -1024 <= predictions[c] << low < 1024:  # what 8 bits have: baseline has codes
                                    return DAMAGED, False
                            at += length + size
                            coefficients[base] = predictions[c] << low
                            if kind == SEQUENTIAL:
                                begin = at
                                at, plain = _ac(bits, at, ac, quick, short, lasts, offsets, symbols, coefficients, base)
                                if at < 0:
                                    return DAMAGED, False
                                usual &= plain
                                if inside and layout[c, 0] == 0:
                                    places[base >> 6, 0], places[base >> 6, 1] = begin, at
                        elif kind == DC_REFINED:
                            if top(look(bits, at), 1):
                                coefficients[base] |= 1 << low
                            at += 1
                        elif kind == AC_FIRST:
                            if run:
                                run -= 1
                            else:
                                at, run = _ac_first(
                                    bits, at, first, last, low, ac, short, lasts, offsets, symbols, coefficients, base
                                )
                        else:
                            at, run = _ac_refined(
                                bits, at, run, first, last, low, ac, short, lasts, offsets, symbols, coefficients, base
                            )
                        if at < 0 or at > end:
                            return DAMAGED, False
                        if kind <= DC_REFINED and not (inside and layout[c, 0] == 0):
                            put = copied(bits, begun, at, aside, put)
    if at > end or end - at > 7 or run or interval + 1 != len(ends):
        return DAMAGED, False
    return put, usual and _ends_in_ones(bits, at, end)


@numba.njit
def copied(bits, at, end, out, put):
    """Append the bits from ``at`` to ``end`` to the ``put`` bits of ``out``; returns how many there are then."""
    while at < end:
        count = min(32 - (put & 7), end - at)
        word = top(look(bits, at), count) << (32 - (put & 7) - count)
        i = put >> 3
        out[i] = word >> 24 if put & 7 == 0 else out[i] | word >> 24
        for shift in (16, 8, 0):
            i += 1
            out[i] = word >> shift & 255
        at, put = at + count, put + count
    return put


@numba.njit
def _ends_in_ones(bits, at, end):
    """Whether the bits that fill a byte are ones (F.1.2.3)."""
    return at == end or top(look(bits, at), end - at) == (1 << (end - at)) - 1


@numba.njit
def _ac(bits, at, ac, quick, short, lasts, offsets, symbols, coefficients, base):
    """The AC coefficients of a block of a sequential scan (F.2.2.2); returns where it ends, and whether no run of zeros
    is told of before its end."""
    k, before = 1, 0
    while k < 64:
        window = look(bits, at)
        entry = np.int64(quick[ac, top(window, SHORT)])
        if entry:
            k += entry >> 8 & 15
            if k > 63:
                return DAMAGED, False
            coefficients[base + k] = entry >> 12
            at += entry & 255
            k, before = k + 1, 0
            continue
        entry = np.int64(short[ac, top(window, SHORT)])
        length, symbol = entry >> 8, entry & 255
        if length == 0:
            length, symbol = long_symbol(window, ac, lasts, offsets, symbols)
            if length == 0:
                return DAMAGED, False
        run, size = symbol >> 4, symbol & 15
        at += length + size
        if size:
            k += run
            if k > 63 or size > 10:
                return DAMAGED, False
            coefficients[base + k] = extended(top(window << np.uint64(length), size), size)
            k += 1
        elif run == 15:
            k += 16
            if k > 64:  # as libjpeg, nothing is made of a run to the very end
                return DAMAGED, False
        elif run == 0:
            break
        else:
            return DAMAGED, False
        before = symbol
    return at, before != 0xF0


@numba.njit
def _ac_first(bits, at, first, last, low, ac, short, lasts, offsets, symbols, coefficients, base):
    """The same of the first scan of a band (G.1.2.2); returns where it ends, and for how many more blocks it does."""
    k = first
    while k <= last:
        window = look(bits, at)
        entry = np.int64(short[ac, top(window, SHORT)])
        length, symbol = entry >> 8, entry & 255
        if length == 0:
            length, symbol = long_symbol(window, ac, lasts, offsets, symbols)
            if length == 0:
                return DAMAGED, 0
        run, size = symbol >> 4, symbol & 15
        if size:
            k += run
            if k > last or size > 10:
                return DAMAGED, 0
            value = extended(top(window << np.uint64(length), size), size)
            if abs(value) > 1023 >> low:
                return DAMAGED, 0
            coefficients[base + k] = value << low
            at += length + size
            k += 1
        elif run == 15:
            at += length
            k += 16
        else:
            blocks = 1 << run
            if run:
                blocks += top(window << np.uint64(length), run)
            return at + length + run, blocks - 1
    return at, 0


@numba.njit
def _ac_refined(bits, at, run, first, last, low, ac, short, lasts, offsets, symbols, coefficients, base):
    """One more bit of a band's coefficients (G.1.2.3); returns where it ends, and for how many more blocks it does."""
    one = 1 << low
    k = first
    if run == 0:
        while k <= last:
            window = look(bits, at)
            entry = np.int64(short[ac, top(window, SHORT)])
            length, symbol = entry >> 8, entry & 255
            if length == 0:
                length, symbol = long_symbol(window, ac, lasts, offsets, symbols)
                if length == 0:
                    return DAMAGED, 0
            at += length
            zeros, size = symbol >> 4, symbol & 15
            value = 0
            if size > 1:
                return DAMAGED, 0
            if size:
                value = one if top(window << np.uint64(length), 1) else -one
                at += 1
            elif zeros < 15:
                run = 1 << zeros
                if zeros:
                    run += top(window << np.uint64(length), zeros)
                    at += zeros
                break
            while k <= last:
                if coefficients[base + k]:
                    at = _refined(bits, at, one, coefficients, base + k)
                else:
                    if zeros == 0:
                        break
                    zeros -= 1
                k += 1
            if value:
                if k > last:
                    return DAMAGED, 0
                coefficients[base + k] = value
            k += 1
    if run:
        while k <= last:
            if coefficients[base + k]:
                at = _refined(bits, at, one, coefficients, base + k)
            k += 1
        run -= 1
    return at, run


@numba.njit
def _refined(bits, at, one, coefficients, place):
    if top(look(bits, at), 1):
        value = coefficients[place]
        coefficients[place] = value + one if value > 0 else value - one
    return at + 1


SIZES = np.array([value.bit_length() for value in range(1 << 16)], np.uint8)
"""The bits that a number takes, by its absolute value (F.1.2.1)."""


@compiled
def counted(coefficients, words, frequencies):
    """How often each symbol of the AC of a plane's blocks comes in a sequential scan: adds to ``frequencies``, (256,).

    ``words`` are the coefficients as int64.
    """
    for base in range(0, len(coefficients), 64):
        zeros = -1  # DC is left out
        for four in range(base, base + 64, 4):
            if words[four >> 2] == 0:
                zeros += 4
                continue
            for k in range(four, four + 4):
                value = np.int64(coefficients[k])
                if value == 0 or k == base:
                    zeros += 1
                    continue
                while zeros > 15:
                    frequencies[0xF0] += 1
                    zeros -= 16
                frequencies[zeros << 4 | SIZES[abs(value)]] += 1
                zeros = 0
        if zeros:
            frequencies[0] += 1


@compiled
def encoded(coefficients, words, codes, out, places):
    """Write the same AC to ``out``, and note in ``places``, (blocks, 2), where the bits of each block begin and end.

    ``codes``, (256,) int64, are those of each symbol: code times 32 plus length.
    """
    held, count, size = np.uint64(0), 0, 0  # the last bits, right-aligned, how many there are, and bytes written
    for base in range(0, len(coefficients), 64):
        places[base >> 6, 0] = size * 8 + count
        zeros = -1
        for four in range(base, base + 64, 4):
            if words[four >> 2] == 0:
                zeros += 4
                continue
            for k in range(four, four + 4):
                value = np.int64(coefficients[k])
                if value == 0 or k == base:
                    zeros += 1
                    continue
                while zeros > 15:
                    held, count, size = _appended(codes[0xF0], 0, 0, held, count, out, size)
                    zeros -= 16
                bits = np.int64(SIZES[abs(value)])
                held, count, size = _appended(codes[zeros << 4 | bits], value, bits, held, count, out, size)
                zeros = 0
        if zeros:
            held, count, size = _appended(codes[0], 0, 0, held, count, out, size)
        places[base >> 6, 1] = size * 8 + count
    _appended(0, 0, 32 - count, held, count, out, size)


@numba.njit
def _appended(code, value, bits, held, count, out, size):
    """Append a code and ``bits`` bits of a number (F.1.2.1) to the bits held; four bytes leave at a time."""
    held = held << np.uint64((code & 31) + bits) | _word(code, value, bits)
    count += (code & 31) + bits
    if count >= 32:
        count -= 32
        four = np.uint32(held >> np.uint64(count))
        out[size], out[size + 1] = four >> np.uint32(24), four >> np.uint32(16)
        out[size + 2], out[size + 3] = four >> np.uint32(8), four
        size += 4
    return held, count, size


@numba.njit
def _word(code, value, bits):
    """A code and ``bits`` bits of a number (F.1.2.1)."""
    return np.uint64((code >> 5) << bits | (value + (value >> 63) & ((1 << bits) - 1)))  # less one where it is negative


@compiled
def counted_dc(dc, layout, units, frequencies):
    """How often each symbol of the DC of an interleaved scan comes: adds to ``frequencies``, (8, 256), of tables.

    ``dc`` has that of every block, (blocks,) of each component; ``layout`` and ``units`` are those of ``decoded``. Of a
    block that pads a unit, DC is that of the one before (A.2.4 leaves it open; libjpeg does so).
    """
    predictions = np.zeros(3, np.int64)
    for down in range(units[0]):
        for across in range(units[1]):
            for c in range(len(layout)):
                values, of_dc = dc[layout[c, 0]], frequencies[layout[c, 5]]
                rows, columns, v, h = layout[c, 1], layout[c, 2], layout[c, 3], layout[c, 4]
                for y in range(v):
                    for x in range(h):
                        row, column = down * v + y, across * h + x
                        difference = 0
                        if row < rows and column < columns:
                            difference = np.int64(values[row * columns + column]) - predictions[c]
                            predictions[c] += difference
                        of_dc[SIZES[abs(difference)]] += 1


@compiled
def spliced(dc, coded, places, layout, units, codes, out):
    """Write an interleaved sequential scan to ``out``, bytes stuffed; returns how many there are.

    ``dc`` is coded with ``codes``, (8, 256); AC is copied from ``coded``, the bits of each plane, where
    ``places`` has them. AC of what pads units is 0.
    """
    predictions = np.zeros(3, np.int64)
    held, count, size = np.uint64(0), 0, 0
    for down in range(units[0]):
        for across in range(units[1]):
            for c in range(len(layout)):
                values, bits, at = dc[layout[c, 0]], coded[layout[c, 0]], places[layout[c, 0]]
                rows, columns, v, h = layout[c, 1], layout[c, 2], layout[c, 3], layout[c, 4]
                of_dc, of_ac = codes[layout[c, 5]], codes[layout[c, 6]]
                for y in range(v):
                    for x in range(h):
                        row, column = down * v + y, across * h + x
                        if row >= rows or column >= columns:
                            held, count, size = written(of_dc[0], 0, 0, held, count, out, size)
                            held, count, size = written(of_ac[0], 0, 0, held, count, out, size)
                            continue
                        block = row * columns + column
                        value = np.int64(values[block])
                        difference = value - predictions[c]
                        predictions[c] = value
                        number = np.int64(SIZES[abs(difference)])
                        held, count, size = written(of_dc[number], difference, number, held, count, out, size)
                        begin, end = at[block, 0], at[block, 1]
                        while begin < end:
                            some = min(30, end - begin)
                            word = look(bits, begin) >> np.uint64(64 - some)
                            held, count, size = _written(word, some, held, count, out, size)
                            begin += some
    return ended(held, count, out, size)[2]


@numba.njit
def ended(held, count, out, size):
    """Bits up to the end of a byte, filled up by ones (F.1.2.3)."""
    fill = -count & 7
    held, count = held << np.uint64(fill) | np.uint64((1 << fill) - 1), count + fill
    while count:
        count -= 8
        byte = np.uint8(held >> np.uint64(count))
        out[size] = byte
        size += 1
        if byte == 0xFF:
            out[size] = 0
            size += 1
    return np.uint64(0), 0, size


@numba.njit
def written(code, value, bits, held, count, out, size):
    """Append a code and ``bits`` bits of a number to the bits held, stuffed."""
    return _written(_word(code, value, bits), (code & 31) + bits, held, count, out, size)


@numba.njit
def _written(word, length, held, count, out, size):
    """Append ``length`` bits, 31 at most, to the bits held; four bytes leave at a time, stuffed."""
    held = held << np.uint64(length) | word
    count += length
    if count >= 32:
        count -= 32
        four = np.uint32(held >> np.uint64(count))
        if four & ~(four + np.uint32(0x01010101)) & np.uint32(0x80808080):  # one of them may be 0xFF
            for shift in (24, 16, 8, 0):
                byte = np.uint8(four >> np.uint32(shift))
                out[size] = byte
                size += 1
                if byte == 0xFF:
                    out[size] = 0
                    size += 1
        else:
            out[size], out[size + 1] = np.uint8(four >> np.uint32(24)), np.uint8(four >> np.uint32(16))
            out[size + 2], out[size + 3] = np.uint8(four >> np.uint32(8)), np.uint8(four)
            size += 4
    return held, count, size


LANES = 32  # blocks that are transformed side by side, so that the compiler vectorises
_C = (np.cos(np.arange(8) * np.pi / 16) / 2).astype(np.float32)
_C1, _C2, _C3, _C4, _C5, _C6, _C7 = _C[1:]


@numba.njit
def _forward(block, first, step):
    """The transform of 8 samples (A.3.3), in place: ``step`` apart in a flat array, of LANES blocks side by side."""
    for i in range(first, first + LANES):
        x_0, x_1, x_2, x_3 = block[i], block[i + step], block[i + 2 * step], block[i + 3 * step]
        x_4, x_5, x_6, x_7 = block[i + 4 * step], block[i + 5 * step], block[i + 6 * step], block[i + 7 * step]
        s_0, s_1, s_2, s_3 = x_0 + x_7, x_1 + x_6, x_2 + x_5, x_3 + x_4
        d_0, d_1, d_2, d_3 = x_0 - x_7, x_1 - x_6, x_2 - x_5, x_3 - x_4
        e_0, e_1, e_2, e_3 = s_0 + s_3, s_1 + s_2, s_0 - s_3, s_1 - s_2
        block[i] = (e_0 + e_1) * _C4
        block[i + step] = d_0 * _C1 + d_1 * _C3 + d_2 * _C5 + d_3 * _C7
        block[i + 2 * step] = e_2 * _C2 + e_3 * _C6
        block[i + 3 * step] = d_0 * _C3 - d_1 * _C7 - d_2 * _C1 - d_3 * _C5
        block[i + 4 * step] = (e_0 - e_1) * _C4
        block[i + 5 * step] = d_0 * _C5 - d_1 * _C1 + d_2 * _C7 + d_3 * _C3
        block[i + 6 * step] = e_2 * _C6 - e_3 * _C2
        block[i + 7 * step] = d_0 * _C7 - d_1 * _C5 + d_2 * _C3 - d_3 * _C1


@numba.njit
def _inverse(block, first, step, n):
    """Its inverse, of the n lowest frequencies to as many samples in the place of 8; n is 1, 2, 4 or 8."""
    if n == 1:
        for i in range(first, first + LANES):
            block[i] *= _C4
    elif n == 2:
        for i in range(first, first + LANES):
            f_0, f_1 = block[i] * _C4, block[i + step] * _C4
            block[i], block[i + step] = f_0 + f_1, f_0 - f_1
    elif n == 4:
        for i in range(first, first + LANES):
            f_0, f_1, f_2, f_3 = block[i], block[i + step], block[i + 2 * step], block[i + 3 * step]
            e_0, e_1 = (f_0 + f_2) * _C4, (f_0 - f_2) * _C4
            o_0, o_1 = f_1 * _C2 + f_3 * _C6, f_1 * _C6 - f_3 * _C2
            block[i], block[i + step], block[i + 2 * step], block[i + 3 * step] = (
                e_0 + o_0,
                e_1 + o_1,
                e_1 - o_1,
                e_0 - o_0,
            )
    else:
        for i in range(first, first + LANES):
            f_0, f_1, f_2, f_3 = block[i], block[i + step], block[i + 2 * step], block[i + 3 * step]
            f_4, f_5, f_6, f_7 = block[i + 4 * step], block[i + 5 * step], block[i + 6 * step], block[i + 7 * step]
            e_0, e_1 = (f_0 + f_4) * _C4, (f_0 - f_4) * _C4
            e_2, e_3 = f_2 * _C2 + f_6 * _C6, f_2 * _C6 - f_6 * _C2
            s_0, s_1, s_2, s_3 = e_0 + e_2, e_1 + e_3, e_1 - e_3, e_0 - e_2
            o_0 = f_1 * _C1 + f_3 * _C3 + f_5 * _C5 + f_7 * _C7
            o_1 = f_1 * _C3 - f_3 * _C7 - f_5 * _C1 - f_7 * _C5
            o_2 = f_1 * _C5 - f_3 * _C1 + f_5 * _C7 + f_7 * _C3
            o_3 = f_1 * _C7 - f_3 * _C5 + f_5 * _C3 - f_7 * _C1
            block[i], block[i + 7 * step] = s_0 + o_0, s_0 - o_0
            block[i + step], block[i + 6 * step] = s_1 + o_1, s_1 - o_1
            block[i + 2 * step], block[i + 5 * step] = s_2 + o_2, s_2 - o_2
            block[i + 3 * step], block[i + 4 * step] = s_3 + o_3, s_3 - o_3


@compiled
def sampled(coefficients, rows, columns, n, places, steps, plane):
    """Fill ``plane`` with the samples of (rows, columns) blocks, n x n of each, uint8; what does not fit is left out.

    ``places`` and ``steps`` are those in zigzag order and of the quantisation, (n * n,) each, of the n x n lowest
    frequencies.
    """
    height, width = plane.shape
    block = np.zeros(n * n * LANES, np.float32)
    for row in range(rows):
        below = min(n, height - row * n)
        for first in range(0, columns, LANES):
            many = min(LANES, columns - first)
            for k in range(n * n):
                base, step, to = (row * columns + first) * 64 + places[k], steps[k], k * LANES
                for lane in range(many):
                    block[to + lane] = coefficients[base + lane * 64] * step
            for u in range(n):
                _inverse(block, u * LANES, n * LANES, n)
            for y in range(n):
                _inverse(block, y * n * LANES, LANES, n)
            for y in range(below):
                line = plane[row * n + y]
                for x in range(n):
                    source, to = (y * n + x) * LANES, first * n + x
                    for lane in range(min(many, (width - to + n - 1) // n)):
                        value = block[source + lane] + np.float32(128.5)
                        line[to + lane * n] = np.uint8(np.int32(min(max(value, np.float32(0)), np.float32(255))))


@compiled
def transformed(plane, places, steps, rows, columns, coefficients):
    """Fill ``coefficients`` with the blocks of a plane, uint8, transformed and quantised (A.3.3, A.3.4).

    What a block has beyond the plane repeats its last row and column. ``places`` and ``steps`` are as in ``sampled``.
    """
    height, width = plane.shape
    block = np.zeros(64 * LANES, np.float32)
    for row in range(rows):
        for first in range(0, columns, LANES):
            many = min(LANES, columns - first)
            for y in range(8):
                line = plane[min(row * 8 + y, height - 1)]
                for x in range(8):
                    to, begin = (y * 8 + x) * LANES, first * 8 + x
                    for lane in range(many):
                        block[to + lane] = np.float32(line[min(begin + lane * 8, width - 1)]) - np.float32(128)
            for u in range(8):
                _forward(block, u * LANES, 8 * LANES)
            for v in range(8):
                _forward(block, v * 8 * LANES, LANES)
            for k in range(64):
                base, factor, source = (row * columns + first) * 64 + places[k], np.float32(1) / steps[k], k * LANES
                for lane in range(many):
                    value = block[source + lane] * factor
                    rounded = value + (np.float32(0.5) if value >= 0 else np.float32(-0.5))
                    coefficients[base + lane * 64] = np.int16(np.int32(rounded))
