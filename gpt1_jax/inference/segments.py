"""Parts of generated texts, each drawn within one context, and batches of them.

A text begins as a segment with its prompt. When the context is full, a window of its
last tokens begins the next segment.
"""

import collections
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from gpt1_jax.inference.shapes import round_up


class Segment(NamedTuple):
    """Tokens to continue, and how many to draw.

    number: that of the prompt. repeat: the number of equal prompts before it. drawn:
    how many of its tokens were drawn before, wanted: how many are left to draw.
    """

    number: int
    tokens: np.ndarray
    repeat: int
    drawn: int
    wanted: int
    context_length: int

    @property
    def num_fitting(self) -> int:
        """The number of tokens to draw until the context is full, or none is left."""
        return min(self.wanted, self.context_length - len(self.tokens))

    @property
    def cache_length(self) -> int:
        """The length of the cache that the segment needs."""
        return round_up(len(self.tokens) + self.num_fitting, self.context_length)

    def following(self, pieces: Sequence[np.ndarray], window: int) -> "Segment":
        """Returns the segment after this one, whose context is full.

        Args: pieces: all tokens that were drawn after the prompt.
              window: the number of last tokens to begin with.
        """
        drawn_T = np.concatenate(pieces)
        new_T = drawn_T[self.drawn :]
        return self._replace(
            tokens=np.concatenate([self.tokens, new_T])[-window:],
            drawn=len(drawn_T),
            wanted=self.wanted - len(new_T),
        )


def first(
    prompts: Sequence[np.ndarray], max_new_tokens: int, context_length: int
) -> list[Segment]:
    """Returns the first segment of each prompt."""
    seen: collections.Counter[tuple[int, ...]] = collections.Counter()
    found = []
    for number, prompt in enumerate(prompts):
        key = tuple(prompt)
        found.append(
            Segment(number, prompt, seen[key], 0, max_new_tokens, context_length)
        )
        seen[key] += 1
    return found


def batches(segments: Sequence[Segment], cached_tokens: int) -> list[list[Segment]]:
    """Returns batches, each of which has caches of `cached_tokens` tokens at most.

    Segments with the longest caches come first.
    """
    left = sorted(segments, key=lambda segment: -segment.cache_length)
    found = []
    while left:
        size = max(1, cached_tokens // left[0].cache_length)
        found.append(left[:size])
        left = left[size:]
    return found
