"""Byte-pair encoding of words, whose tokens mark a word's end by `</w>`.

The library `tokenizers` learns and applies it; here are the choices of entries, and the
file. It neither cleans text nor splits it into words.
Source: Radford et al. 2018, Sec. 4.1; Sennrich et al. 2016.
"""

import collections
import hashlib
import json
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import tokenizers as tokenizers_lib

from gpt1_jax.errors import UserError
from gpt1_jax.files import parse_json, write_bytes_atomically

FILE_NAME = "tokenizer.json"
END_OF_WORD = "</w>"
NEWLINE = f"\n{END_OF_WORD}"
# An entry that no text has: the encoding was learnt from text with its case.
CASED_MARK = "<cased>"
BYTES = tuple(f"<0x{value:02X}>" for value in range(256))
# Share of the training text whose characters get entries, as with SentencePiece.
CHARACTER_COVERAGE = 0.9999
# A tokenizer keeps the ids of so many words in memory.
MAX_CACHED_WORDS = 500_000
_WORDS_PER_LINE = 1000


class BytePairEncoding:
    """The ids of the entries, and the merges in the order of their ranks.

    Characters outside the vocabulary become their UTF-8 bytes; at the end of a word
    those of `</w>` follow, so that every word ends in its mark.
    """

    def __init__(
        self,
        id_of: dict[str, int],
        merges: list[tuple[str, str]],
        origin: str = "this encoding",
    ):
        self.id_of, self.merges = id_of, merges
        self.model = make_model(id_of, merges, origin, byte_fallback=True)
        self._bytes_of = {n: piece.encode() for piece, n in id_of.items()}
        self._bytes_of |= {id_of[p]: bytes([b]) for b, p in enumerate(BYTES)}

    @property
    def fingerprint(self) -> str:
        """A sha256 of the entries in the order of their ids, and of the merges."""
        facts = [sorted(self.id_of, key=self.id_of.__getitem__), self.merges]
        return hashlib.sha256(json.dumps(facts).encode()).hexdigest()

    def encode_word(self, word: str) -> list[int]:
        """Returns the ids of a word."""
        return [token.id for token in self.model.tokenize(word)]

    def decode(self, ids: Iterable[int]) -> str:
        """Returns the text of `ids`, with a space between words."""
        content = b"".join(self._bytes_of[int(number)] for number in ids)
        text = content.decode("utf-8", errors="replace")
        words = text.replace(NEWLINE, "\n").replace(END_OF_WORD, " ")
        strip = str.rstrip if CASED_MARK in self.id_of else str.strip
        return "\n".join(strip(line, " ") for line in words.split("\n"))

    def save(self, directory: Path) -> None:
        """Writes a tokenizer.json, which `tokenizer_file` reads."""
        content = tokenizers_lib.Tokenizer(self.model).to_str(pretty=True)
        write_bytes_atomically(directory / FILE_NAME, content.encode())


def is_vocabulary(id_of: dict[str, int]) -> bool:
    """Returns True if the ids are 0, 1, ..., in any order; there is at least one."""
    are_whole = all(type(number) is int for number in id_of.values())
    return are_whole and sorted(id_of.values()) == list(range(len(id_of) or 1))


def make_model(
    id_of: dict[str, int], merges: list[tuple[str, str]], origin: str, **options: Any
) -> Any:
    """Returns a model of `tokenizers` that marks the ends of words.

    Args:   origin: the source of the merges, for messages. options: those of the model.
    Raises: UserError: a merge has pieces that are not in the vocabulary.
    """
    try:
        return tokenizers_lib.models.BPE(
            id_of, merges, end_of_word_suffix=END_OF_WORD, **options
        )
    except Exception as error:  # the library has no exception class of its own
        raise UserError(
            f"{origin}: its merges and vocabulary do not belong together: {error}; "
            "files of one tokenizer are expected; restore them"
        ) from None


def train(
    words: Iterable[str], vocab_size: int, marks: Sequence[str] = ()
) -> BytePairEncoding:
    """Learns `vocab_size` entries from all words of a text.

    The entries: 256 bytes, `marks`, the characters inside a word, the characters that
    end one, the merges, the line break.
    Raises: UserError: `vocab_size` is too large or too small for the words.
    """
    count_of = collections.Counter(words)
    characters = _frequent_characters(count_of)
    endings = [f"{character}{END_OF_WORD}" for character in characters]
    symbols = [*BYTES, *marks, *characters, *endings]
    if len(symbols) + 1 >= vocab_size:
        raise UserError(
            f"vocab_size={vocab_size} is less than the characters and bytes of these "
            f"books, {len(symbols) + 1}; raise vocab_size"
        )
    known = set(characters)
    kept = {word: n for word, n in count_of.items() if known.issuperset(word)}
    model = tokenizers_lib.Tokenizer(
        tokenizers_lib.models.BPE(end_of_word_suffix=END_OF_WORD)
    )
    model.pre_tokenizer = tokenizers_lib.pre_tokenizers.WhitespaceSplit()
    # Symbols passed as special tokens have these ids; without them the trainer numbers
    # those that end a word in an order that differs from run to run.
    trainer = tokenizers_lib.trainers.BpeTrainer(
        vocab_size=vocab_size - 1,
        special_tokens=symbols,
        end_of_word_suffix=END_OF_WORD,
        show_progress=False,
    )
    model.train_from_iterator(_lines(kept), trainer)
    learnt = parse_json(model.to_str())["model"]
    id_of, merges = learnt["vocab"], [tuple(pair) for pair in learnt["merges"]]
    if len(id_of) < vocab_size - 1:
        raise UserError(
            f"vocab_size={vocab_size}; these books hold pieces for at most "
            f"{len(id_of) + 1}; lower vocab_size or add more text"
        )
    return BytePairEncoding(id_of | {NEWLINE: len(id_of)}, merges)


def _frequent_characters(count_of: dict[str, int]) -> list[str]:
    """Returns the most frequent characters of all words, in order of code points."""
    counts: collections.Counter[str] = collections.Counter()
    for word, count in count_of.items():
        for character in word:
            counts[character] += count
    if not counts:
        raise UserError(
            "no tokenizer can be trained on these books (they hold no words); add more "
            "text"
        )
    most_frequent_first = sorted(counts.items(), key=lambda item: (-item[1], item[0]))
    wanted, kept = CHARACTER_COVERAGE * counts.total(), []
    for character, count in most_frequent_first:
        if wanted <= 0:
            break
        wanted -= count
        kept.append(character)
    return sorted(kept)


def _lines(count_of: dict[str, int]) -> Iterator[str]:
    """Yields lines that hold each word as often as it is counted."""
    for word, count in sorted(count_of.items()):
        full, rest = divmod(count, _WORDS_PER_LINE)
        for length in [_WORDS_PER_LINE] * full + [rest]:
            yield f"{word} " * length
