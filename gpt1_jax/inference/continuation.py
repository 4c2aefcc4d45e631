"""The text of a prompt's new tokens, piece by piece as they are drawn."""

import itertools

import numpy as np

from gpt1_jax.data.text import tokenizers


class Continuation:
    """The growing text of a prompt's new tokens.

    Lines are decoded one by one, as a line break ends what later ids can change.
    """

    def __init__(self, tokenizer: tokenizers.Tokenizer, prompt: np.ndarray):
        self._tokenizer = tokenizer
        self._line = _after_last(tokenizer.newline_id, prompt.tolist())
        self._before = tokenizer.decode(self._line)  # the prompt's part of the line
        self._finished = ""
        self._num_returned = 0
        self.text = ""

    def add(self, ids: np.ndarray) -> str:
        """Adds `ids` and returns the new text that later ids cannot change."""
        self._line += ids.tolist()
        self.text = self._finished + self._decoded(self._line)
        line = _after_last(self._tokenizer.newline_id, self._line)
        if len(line) < len(self._line):
            self._finished += self._decoded(self._line[: -len(line) or None])
            self._line, self._before = line, ""
        # The last character may lack bytes that come with the next tokens.
        return self._new_part(self.text.rstrip("\ufffd"))

    def _decoded(self, ids: list[int]) -> str:
        """Returns the text of `ids` without the prompt's part."""
        text = self._tokenizer.decode(ids)
        return text[common_prefix_length(self._before, text) :]

    def rest(self) -> str:
        """Returns the text that `add` held back."""
        return self._new_part(self.text)

    def _new_part(self, text: str) -> str:
        """Returns the part of `text` that was not returned before."""
        piece = text[self._num_returned :]
        self._num_returned += len(piece)
        return piece


def _after_last(newline_id: int, ids: list[int]) -> list[int]:
    """Returns the ids after the last line break."""
    start = len(ids)
    while start and ids[start - 1] != newline_id:
        start -= 1
    return ids[start:]


def common_prefix_length(one: str, other: str) -> int:
    """Returns the length of the longest common prefix of two texts.

    A prompt may end in the middle of a character that takes several tokens. Its text is
    then not a prefix of the continued text.
    """
    pairs = zip(one, other, strict=False)
    return sum(1 for _ in itertools.takewhile(lambda pair: pair[0] == pair[1], pairs))
