"""Training of tokenizers on the text of books."""

import io
import itertools
import re
from collections.abc import Callable, Iterable

import sentencepiece

from gpt1_jax.data.text import bpe, tokenizers
from gpt1_jax.errors import UserError

# SentencePiece drops longer sentences from its training data.
_MAX_SENTENCE_BYTES = 4000


def train(
    texts: Iterable[str],
    vocab_size: int,
    kind: str = "sentencepiece",
    *,
    lowercase: bool = True,
) -> tokenizers.Tokenizer:
    """Trains a byte-pair encoding of `vocab_size` entries on raw `texts`.

    Args:   kind: one of tokenizers.TRAINED. lowercase: False makes it is_cased.
    Raises: UserError: `vocab_size` is too large or too small for the texts.
    """
    lines = (
        line.strip()
        for text in texts
        for line in tokenizers.cleaned(text, is_cased=not lowercase).split("\n")
    )
    return _TRAINERS[kind](lines, vocab_size, [] if lowercase else [bpe.CASED_MARK])


def _train_bpe(
    lines: Iterable[str], vocab_size: int, marks: list[str]
) -> tokenizers.BytePairTokenizer:
    words = itertools.chain.from_iterable(map(str.split, lines))
    return tokenizers.BytePairTokenizer(bpe.train(words, vocab_size, marks))


def _train_sentencepiece(
    lines: Iterable[str], vocab_size: int, marks: list[str]
) -> tokenizers.SentencePieceTokenizer:
    model = io.BytesIO()
    try:
        sentencepiece.SentencePieceTrainer.train(
            sentence_iterator=itertools.chain.from_iterable(map(_cut, lines)),
            model_writer=model,
            model_type="bpe",
            vocab_size=vocab_size,
            byte_fallback=True,
            character_coverage=bpe.CHARACTER_COVERAGE,
            normalization_rule_name="identity",
            bos_id=-1,
            eos_id=-1,
            control_symbols=marks,
            minloglevel=2,
        )
    except RuntimeError as error:
        raise UserError(_training_failed(str(error), vocab_size)) from None
    return tokenizers.SentencePieceTokenizer(model.getvalue())


def _cut(line: str) -> list[str]:
    """Splits `line` at spaces into sentences that SentencePiece does not drop."""
    if len(line.encode()) <= _MAX_SENTENCE_BYTES:
        return [line] if line else []
    sentences: list[list[str]] = [[]]
    size = 0
    for word in line.split():
        word = word[: tokenizers.MAX_WORD_CHARS]
        size += len(word.encode()) + 1
        if size > _MAX_SENTENCE_BYTES:
            sentences.append([])
            size = len(word.encode()) + 1
        sentences[-1].append(word)
    return [" ".join(words) for words in sentences if words]


def _training_failed(error: str, vocab_size: int) -> str:
    """Returns the message for a failed training of SentencePiece."""
    limit = re.search(r"value <= (\d+)", error)
    least = re.search(r"required_chars\.size\(\)\D+(\d+)|than required\D*(\d+)", error)
    if limit:
        return (
            f"vocab_size={vocab_size}; these books hold pieces for at most "
            f"{limit[1]}; lower vocab_size or add more text"
        )
    if least or "smaller than required" in error or "meta_pieces" in error:
        return (
            f"vocab_size={vocab_size} is less than the characters and bytes of these "
            "books; raise vocab_size"
        )
    return f"no tokenizer can be trained on these books ({error}); add more text"


_TRAINERS: dict[
    str, Callable[[Iterable[str], int, list[str]], tokenizers.Tokenizer]
] = {
    tokenizers.SentencePieceTokenizer.kind: _train_sentencepiece,
    tokenizers.BytePairTokenizer.kind: _train_bpe,
}
