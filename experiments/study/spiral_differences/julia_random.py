"""Random numbers of Julia 1.0 to 1.6: the global generator there is dSFMT-19937 of Saito & Matsumoto (2008).

Only what initial weights of Flux need: arrays of Float32 whose length is a multiple of four, uniform on [0, 1).
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

# parameters of dSFMT-19937: a state of 191 words of 128 bits, and the lung, a 192nd
WORDS, SHIFTED_FROM = 191, 117
LEFT, RIGHT = 19, 12
MASKS = (0x000FFAFFFFFFFB3F, 0x000FFDFFFC90FFFD)
FIX = (0x90014964B32F4329, 0x3B8D12AC548A7C7A)
PERIOD = (0x3D84E1AC0DC82880, 0x0000000000000001)
MANTISSA, ONE = 0x000FFFFFFFFFFFFF, 0x3FF0000000000000

BITS_32, BITS_64, BITS_128 = (1 << 32) - 1, (1 << 64) - 1, (1 << 128) - 1

FRACTIONS = 0x007FFFFF007FFFFF007FFFFF007FFFFF
ONES = 0x3F8000003F8000003F8000003F800000
"""Four Float32 in 128 bits: their fractions, and the bits of 1.0."""


class JuliaRandom:
    """The generator after `Random.seed!(seed)`, for seeds below 2^32."""

    def __init__(self, seed: int) -> None:
        self._state = _seeded_state(seed)
        self._next = 2 * WORDS

    def float32(self, count: int) -> npt.NDArray[np.float32]:
        """What `rand(Float32, count)` gives, `(count,)`; raises `ValueError` unless `count` is a multiple of four."""
        if count % 4:
            raise ValueError(f"count = {count}: not a multiple of four")
        words = [self._bits() | self._bits() << 64 for _ in range(count // 4)]
        # each word gets random bits where its four fractions have theirs
        spread = [((word ^ word << 26) & BITS_128 & FRACTIONS) | ONES for word in words]
        between_1_and_2 = np.frombuffer(b"".join(word.to_bytes(16, "little") for word in spread), np.float32)
        return between_1_and_2 - np.float32(1)

    def float64(self) -> float:
        """What `rand()` gives."""
        return float(np.frombuffer(self._bits().to_bytes(8, "little"), np.float64)[0]) - 1

    def _bits(self) -> int:
        """The bits of the next Float64 between 1 and 2."""
        if self._next == 2 * WORDS:
            _advance(self._state)
            self._next = 0
        self._next += 1
        return self._state[self._next - 1]


def _advance(state: list[int]) -> None:
    """Replaces all words of the state by the next ones."""
    lung = (state[2 * WORDS], state[2 * WORDS + 1])
    for k in range(WORDS):
        low, high = state[2 * k], state[2 * k + 1]
        other = (k + SHIFTED_FROM) % WORDS
        crossed = (lung[1] >> 32 ^ lung[1] << 32, lung[0] >> 32 ^ lung[0] << 32)
        lung = (
            (low << LEFT ^ crossed[0] ^ state[2 * other]) & BITS_64,
            (high << LEFT ^ crossed[1] ^ state[2 * other + 1]) & BITS_64,
        )
        state[2 * k] = lung[0] >> RIGHT ^ lung[0] & MASKS[0] ^ low
        state[2 * k + 1] = lung[1] >> RIGHT ^ lung[1] & MASKS[1] ^ high
    state[2 * WORDS :] = lung


def _seeded_state(seed: int) -> list[int]:
    """The state after initialisation by the array [seed], as 384 words of 64 bits."""
    key, size, lag = [seed], 4 * (WORDS + 1), 11
    middle = (size - lag) // 2
    parts = [0x8B8B8B8B] * size
    for k in range(size):
        mixed = _mixed(parts[k] ^ parts[(k + middle) % size] ^ parts[k - 1], 1664525)
        parts[(k + middle) % size] = parts[(k + middle) % size] + mixed & BITS_32
        mixed += len(key) if k == 0 else k + (key[k - 1] if k <= len(key) else 0)
        mixed &= BITS_32
        parts[(k + middle + lag) % size] = parts[(k + middle + lag) % size] + mixed & BITS_32
        parts[k] = mixed
    for k in range(size):
        mixed = _mixed(parts[k] + parts[(k + middle) % size] + parts[k - 1] & BITS_32, 1566083941)
        parts[(k + middle) % size] ^= mixed
        mixed = mixed - k & BITS_32
        parts[(k + middle + lag) % size] ^= mixed
        parts[k] = mixed
    state = [parts[2 * k] | parts[2 * k + 1] << 32 for k in range(size // 2)]
    state[: 2 * WORDS] = [word & MANTISSA | ONE for word in state[: 2 * WORDS]]
    return _certified(state)


def _mixed(value: int, factor: int) -> int:
    return (value ^ value >> 27) * factor & BITS_32


def _certified(state: list[int]) -> list[int]:
    """The state, changed in one bit where its period would not be full."""
    product = 0
    for k in range(2):
        product ^= (state[2 * WORDS + k] ^ FIX[k]) & PERIOD[k]
    if product.bit_count() % 2 == 0:
        state[2 * WORDS + 1] ^= 1
    return state
