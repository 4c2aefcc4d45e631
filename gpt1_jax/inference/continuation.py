"""The text of a prompt's new tokens, piece by piece as they are drawn."""

import itertools

import numpy as np

from gpt1_jax.data.text import tokenizers


class Continuation:
    """The growing text of a prompt's new tokens."""

    def __init__(self, tokenizer: tokenizers.Tokenizer, prompt: np.ndarray):
        self._tokenizer, self._ids = tokenizer, prompt.tolist()
        self._before = tokenizer.decode(self._ids)
        self._num_returned = 0
        self.text = ""

    def add(self, ids: np.ndarray) -> str:
        """Adds `ids` and returns the new text that later ids cannot change."""
        self._ids += ids.tolist()
        whole = self._tokenizer.decode(self._ids)
        self.text = whole[common_prefix_length(self._before, whole) :]
        # The last character may lack bytes that come with the next tokens.
        return self._new_part(self.text.rstrip("\ufffd"))

    def rest(self) -> str:
        """Returns the text that `add` held back."""
        return self._new_part(self.text)

    def _new_part(self, text: str) -> str:
        """Returns the part of `text` that was not returned before."""
        piece = text[self._num_returned :]
        self._num_returned += len(piece)
        return piece


def common_prefix_length(one: str, other: str) -> int:
    """Returns the length of the longest common prefix of two texts.

    A prompt may end in the middle of a character that takes several tokens. Its text is
    then not a prefix of the continued text.
    """
    pairs = zip(one, other, strict=False)
    return sum(1 for _ in itertools.takewhile(lambda pair: pair[0] == pair[1], pairs))
