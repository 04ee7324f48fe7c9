"""Vectors in half precision: each divided by its largest magnitude, so that none overflows float16.

What lies 2**-24 below the largest magnitude of its vector is lost, and nothing else but the last of 11 bits.
"""

import numpy as np

CACHED = 2**17  # values widened at once: what a core keeps near it
SIGN_AND_BELOW = np.int32(0x0FFFE000 - 2**31)
WIDENED = np.float32(2.0 ** (127 - 15))


def to_half(vectors: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """float32 (..., d) -> float16 (..., d) in [-1, 1] and float32 (...) scale, 1 for a zero vector."""
    scale = np.abs(vectors).max(axis=-1).astype(np.float32)
    scale[scale == 0] = 1
    return (vectors / scale[..., None]).astype(np.float16), scale


def from_half(half: np.ndarray, scale: np.ndarray, out: np.ndarray | None = None) -> np.ndarray:
    """The float32 vectors (..., d) that `to_half` took apart: half.astype(float32) * scale[..., None].

    Finite values only. NumPy widens float16 one value at a time; moving its bits to their place in a float32,
    whose exponent counts from 2**-127 and not from 2**-15, takes a fraction of the time.
    """
    vectors = np.empty(half.shape, np.float32) if out is None else out
    # One product where it cannot overflow; WIDENED is a power of two, so it rounds what two would.
    widened = scale.max(initial=0) < 2**15
    rows = max(1, CACHED // max(1, half[:1].size))
    for start in range(0, len(half), rows):
        part, own = vectors[start : start + rows], scale[start : start + rows, ..., None]
        bits = part.view(np.int32)
        bits[...] = half[start : start + rows].view(np.int16)
        bits <<= 13
        bits &= SIGN_AND_BELOW  # the shift left copies of the sign bit in the exponent
        if widened:
            part *= own * WIDENED
        else:
            part *= WIDENED
            part *= own
    return vectors
