"""tokenizer.json, the file of the library `tokenizers`: its parser.

It holds a byte-pair model: the released one, `bpe`, or, in a folder that was exported
to transformers, one of SentencePiece. `tokenizers.load` tells them apart.
"""

import dataclasses
from pathlib import Path
from typing import Any

from sentencepiece import sentencepiece_model_pb2

from gpt1_jax.data.text import bpe
from gpt1_jax.errors import UserError
from gpt1_jax.files import parse_json


@dataclasses.dataclass(frozen=True)
class TokenizerFile:
    """The byte-pair model in a tokenizer.json, and the cleaning before it.

    has_bytes: characters outside the vocabulary become bytes.
    marks_ends: tokens that end a word have the suffix bpe.END_OF_WORD.
    normalizer: the JSON of the cleaning; None: there is none.
    """

    path: Path
    id_of: dict[str, int]
    merges: list[tuple[str, str]]
    has_bytes: bool
    marks_ends: bool
    normalizer: dict[str, Any] | None

    @property
    def pieces(self) -> list[str]:
        """The tokens in the order of their ids."""
        return sorted(self.id_of, key=self.id_of.__getitem__)


def read(path: Path) -> TokenizerFile:
    """Returns the content of a tokenizer.json.

    Raises: UserError: it holds no byte-pair model of the three kinds.
    """
    try:
        content = parse_json(path.read_text(encoding="utf-8"))
        model = content["model"]
        found = TokenizerFile(
            path=path,
            id_of=model["vocab"],
            merges=[_pair(merge) for merge in model["merges"]],
            has_bytes=bool(model.get("byte_fallback"))
            and model["vocab"].keys() >= set(bpe.BYTES),
            marks_ends=model["end_of_word_suffix"] == bpe.END_OF_WORD,
            normalizer=content.get("normalizer"),
        )
        # The released model has its token of unknown characters first.
        is_released = found.marks_ends and not found.id_of.get(model.get("unk_token"))
        is_known = bpe.is_vocabulary(found.id_of) and (found.has_bytes or is_released)
    except (ValueError, KeyError, TypeError, AttributeError):
        is_known = False
    if not is_known:
        raise UserError(
            f"{path} is not a tokenizer of GPT-1: byte pairs whose words end in "
            f"{bpe.END_OF_WORD}, or the file of a folder that gpt1_jax.convert "
            "exported, are expected; use the released pair of files, or restore it"
        )
    return found


def _pair(merge: Any) -> tuple[str, str]:
    """Returns a merge, which older versions write as one text."""
    first, second = merge.split(" ") if isinstance(merge, str) else merge
    if not isinstance(first, str) or not isinstance(second, str):
        raise TypeError("a merge joins two texts")
    return first, second


def sentencepiece_model(pieces: list[str]) -> bytes:
    """Returns the model file that has these pieces, as SentencePiece trains it."""
    model: Any = sentencepiece_model_pb2.ModelProto()  # type: ignore[attr-defined]
    Piece = type(model).SentencePiece
    specials = {pieces[0]: Piece.UNKNOWN} | dict.fromkeys(bpe.BYTES, Piece.BYTE)
    for number, text in enumerate(pieces):
        if text in specials:
            model.pieces.add(piece=text, score=0.0, type=specials[text])
        else:
            model.pieces.add(piece=text, score=-float(number - len(specials)))
    spec = model.trainer_spec
    spec.model_type = spec.BPE
    spec.vocab_size = len(pieces)
    spec.character_coverage = bpe.CHARACTER_COVERAGE
    spec.byte_fallback = True
    spec.bos_id = spec.eos_id = -1
    model.normalizer_spec.name = "identity"
    model.normalizer_spec.precompiled_charsmap = b""
    return model.SerializeToString()
