"""Philox4x32-10 and the streams of engine/random.h in NumPy, bit for bit.

Salmon, Moraes, Dror, Shaw: "Parallel random numbers: as easy as 1, 2, 3", SC 2011.
"""

import numpy as np

INIT_WEIGHTS = 1  # values of the enum Purpose in engine/random.h
ROTATION = 7

_MASK = np.uint64(0xFFFFFFFF)
_32 = np.uint64(32)


def philox4x32_10(counter, key):
    """counter: four uint64 arrays (or scalars) of 32-bit values; key: two 32-bit integers. Four such arrays."""
    c0, c1, c2, c3 = (np.asarray(c, dtype=np.uint64) for c in counter)
    k0, k1 = key
    for _ in range(10):
        p0 = np.uint64(0xD2511F53) * c0
        p1 = np.uint64(0xCD9E8D57) * c2
        c0, c1, c2, c3 = (
            (p1 >> _32) ^ c1 ^ np.uint64(k0),
            p1 & _MASK,
            (p0 >> _32) ^ c3 ^ np.uint64(k1),
            p0 & _MASK,
        )
        k0 = (k0 + 0x9E3779B9) & 0xFFFFFFFF
        k1 = (k1 + 0xBB67AE85) & 0xFFFFFFFF
    return c0, c1, c2, c3


def check_known_answers():
    """The known-answer vectors that Random123 publishes for philox4x32-10."""
    ones = 0xFFFFFFFF
    vectors = [
        ((0, 0, 0, 0), (0, 0), "6627e8d5 e169c58d bc57ac4c 9b00dbd8"),
        ((ones, ones, ones, ones), (ones, ones), "408f276d 41c83b0e a20bc7c6 6d5451fd"),
        ((0x243F6A88, 0x85A308D3, 0x13198A2E, 0x03707344), (0xA4093822, 0x299F31D0),
         "d16cfe09 94fdcceb 5001e420 24126ea1"),
    ]  # fmt: skip
    for counter, key, expected in vectors:
        found = " ".join(f"{int(word):08x}" for word in philox4x32_10(counter, key))
        assert found == expected, f"philox4x32_10{counter}{key} = {found}, expected {expected}"


def bits(seed, purpose, step, count, chunk=1 << 20):
    """RandomStream{seed, purpose, step}.bits(e) for e = 0 .. count-1, as uint32."""
    out = np.empty((count + 3) // 4 * 4, dtype=np.uint32)
    for start in range(0, out.size // 4, chunk):
        block = np.arange(start, min(start + chunk, out.size // 4), dtype=np.uint64)
        counter = (block & _MASK, block >> _32, np.uint64(step), np.uint64(purpose))
        words = philox4x32_10(counter, (seed & 0xFFFFFFFF, seed >> 32))
        out[4 * start : 4 * (start + block.size)] = np.stack(words, axis=1).reshape(-1).astype(np.uint32)
    return out[:count]


def uniform(seed, purpose, step, count):
    """RandomStream{seed, purpose, step}.uniform(e) for e = 0 .. count-1: float32 on a grid of 2^-24."""
    return (bits(seed, purpose, step, count) >> np.uint32(8)).astype(np.float32) * np.float32(2.0**-24)
