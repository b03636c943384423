"""Pictures that are nearly the same: saved anew, resized, mirrored. By dHash, then by their pixels.

Of 64 bits that say where a picture grows brighter, those of a copy differ in few; pictures for
which that holds are then laid over each other. Rotated copies and small parts are not found.
"""

import itertools
from typing import NamedTuple

import numpy as np

from lowlabel_jax.images.crops import resized

BITS = 4  # in which the hashes of two pictures may differ
ALIKE = 0.9  # least correlation of their pixels
SIDE = 32  # of what is correlated, in pixels; smaller images are too coarse to be told apart
BANDS, SHARED = 6, 2  # of six bands of a hash, four bits that differ leave two as they are
WINDOW = 256  # images of equal bands that each is compared with
EQUAL = 16  # images of one hash that are compared
MOST = 100_000  # pairs whose pixels are compared, the most alike hashes first
AT_ONCE = 4_096  # pairs correlated at once
RGB = np.array([299, 587, 114], np.float32) / 1000  # shares of grey, as Pillow weighs them


class Close(NamedTuple):
    """Pairs of images whose hashes differ in few bits."""

    first: np.ndarray  # int64 [m]
    second: np.ndarray  # int64 [m], above first
    bits: np.ndarray  # int64 [m], how many differ
    complete: bool  # False where so many are alike that not all pairs were compared


def mirrored(hashes: np.ndarray) -> np.ndarray:
    """uint64 [n] -> the dHashes of the mirrored pictures, up to fields that are equally bright.

    Seen in a mirror, a row grows darker where it grew brighter, from its other end.
    """
    bits = np.unpackbits(hashes.astype(">u8").view(np.uint8)).reshape(-1, 8, 8)
    return np.packbits(1 - bits[:, :, ::-1], axis=None).view(">u8").astype(np.uint64)


def close(hashes: np.ndarray) -> Close:
    """The pairs of uint64 [n] within BITS, as they are or one of them mirrored.

    Only images that agree in SHARED of BANDS are compared, so that many need no n^2; and of those
    with one and the same hash (all black ones) the first EQUAL stand for the others.
    """
    place = _first_of_equal(hashes)
    kept = hashes[place]
    both = np.concatenate([kept, mirrored(kept)])
    found, complete = [np.zeros((0, 3), np.int64)], len(kept) == len(hashes)
    for bands in itertools.combinations(_masks(), SHARED):
        pairs, whole = _agreeing(both, np.bitwise_or.reduce(bands))
        found.append(pairs)
        complete &= whole
    pairs = np.unique(np.concatenate(found), axis=0)  # by bits, then by first and second
    _, once = np.unique(pairs[:, 1:], axis=0, return_index=True)
    pairs = pairs[np.sort(once)]
    complete &= len(pairs) <= MOST
    bits, first, second = pairs[:MOST].T
    return Close(place[first], place[second], bits, bool(complete))


def _first_of_equal(hashes: np.ndarray) -> np.ndarray:
    """Sorted indices of uint64 [n], at most EQUAL of those that are equal."""
    order = np.argsort(hashes, kind="stable")
    _, starts, counts = np.unique(hashes[order], return_index=True, return_counts=True)
    before = np.arange(len(hashes)) - np.repeat(starts, counts)
    return np.sort(order[before < EQUAL])


def _masks() -> list[np.uint64]:
    """BANDS masks of neighbouring bits that cover all 64 once."""
    cuts = np.linspace(0, 64, BANDS + 1).astype(int).tolist()
    return [np.uint64((1 << high) - (1 << low)) for low, high in itertools.pairwise(cuts)]


def _agreeing(both: np.ndarray, mask: np.uint64) -> tuple[np.ndarray, bool]:
    """(int64 [m, 3] bits, first, second of pairs that agree in all of a mask, whether all).

    both: n hashes and then their mirrored ones [2n]. Sorted, those that agree are neighbours.
    """
    n, order = len(both) // 2, np.lexsort((both, both & mask))
    value, key = both[order], both[order] & mask
    left, found, count = np.arange(2 * n), [np.zeros((0, 3), np.int64)], 0
    for step in range(1, 2 * n):
        left = left[left + step < 2 * n]
        left = left[key[left] == key[left + step]]
        if not len(left):
            break
        if step > WINDOW or count > MOST:
            return np.concatenate(found), False
        bits = np.bitwise_count(value[left] ^ value[left + step]).astype(np.int64)
        a, b = order[left[bits <= BITS]], order[left[bits <= BITS] + step]
        pairs = np.stack(
            [bits[bits <= BITS], np.minimum(a % n, b % n), np.maximum(a % n, b % n)], 1
        )
        found.append(pairs[((a < n) | (b < n)) & (a % n != b % n)])
        count += len(found[-1])
    return np.concatenate(found), True


def thumbnails(images: np.ndarray) -> np.ndarray:
    """uint8 [n, h, w, c] -> uint8 [n, SIDE, SIDE] in grey, out of proportion."""
    small = np.zeros((len(images), SIDE, SIDE), np.uint8)
    for place, image in enumerate(images):
        small[place] = resized(grey(image)[..., None], SIDE, "area")[..., 0]
    return small


def grey(image: np.ndarray) -> np.ndarray:
    """uint8 [h, w, 1 or 3] -> uint8 [h, w]."""
    return image[..., 0] if image.shape[-1] == 1 else np.rint(image @ RGB).astype(np.uint8)


def alike(small: np.ndarray, first: np.ndarray, second: np.ndarray) -> tuple[np.ndarray, ...]:
    """(correlation [m], mirrored bool [m]) of pairs of thumbnails uint8 [n, SIDE, SIDE].

    The better of as it is and mirrored; 0 for a picture of one colour, which is like no other.
    """
    plain, turned = np.zeros(len(first)), np.zeros(len(first))
    for start in range(0, len(first), AT_ONCE):
        part = slice(start, start + AT_ONCE)
        one, other = _level(small[first[part]]), _level(small[second[part]])
        plain[part] = np.einsum("nhw,nhw->n", one, other)
        turned[part] = np.einsum("nhw,nhw->n", one, other[:, :, ::-1])
    return np.maximum(plain, turned), turned > plain


def _level(small: np.ndarray) -> np.ndarray:
    """uint8 [n, h, w] -> float32, each of mean 0 and length 1, or all 0."""
    level = small - small.mean((1, 2), dtype=np.float32, keepdims=True)
    length = np.sqrt(np.square(level).sum((1, 2), keepdims=True))
    return level / np.maximum(length, 1e-6)
