r"""The file tokenizer.json of the library `tokenizers`, which transformers loads.

`write` gives a tokenizer's own ids, apart from what ftfy and spaCy do beyond rules on
characters, see NOT_EXPRESSED. `read` returns the tokenizer of a file of ours.
"""

import json
from pathlib import Path
from typing import Any

import tokenizers as lib
from sentencepiece import sentencepiece_model_pb2
from tokenizers import Regex, decoders, models, normalizers, pre_tokenizers

from gpt1_jax.data.text import bpe, openai_bpe, tokenizers
from gpt1_jax.data.text.tokenizers import Tokenizer
from gpt1_jax.errors import UserError
from gpt1_jax.files import parse_json, write_atomically
from gpt1_jax.interop import english_words

FILE_NAME, _CONFIG_NAME = bpe.FILE_NAME, "tokenizer_config.json"
# The names of the released code, in the order of their ids.
_SPECIALS = ("_start_", "_delimiter_", "_classify_")
_SPACE = "\u2581"  # SentencePiece's sign for a space

NOT_EXPRESSED = (
    "ftfy's repair of wrongly decoded text and of the characters U+0080 to U+009F",
    "ftfy's decoding of HTML entities other than `&amp;`",
    "ftfy's other forms of wide characters and of rare ligatures",
    "the sign U+2581, which is cut off from its word as an underscore is",
    "the cut of words of more than 1,000 characters (SentencePiece only)",
)
NOT_EXPRESSED_OF_RELEASE = (
    "spaCy's rarer rules: web addresses, emoticons, units, some abbreviations",
)
# The characters around whose runs `clean.standardize` puts spaces.
_RUN = Regex(r"""([-~!";?+,)(/*\[\]}{|_])\1*""")
# ftfy's characters, then those of `clean.standardize`.
_REPLACED: tuple[tuple[Any, str], ...] = (
    (Regex(r"\x1b\[[\d;]*[a-zA-Z]"), ""),
    (
        Regex(
            r"[\x00-\x08\x0b\x0e-\x1f\x7f\x{206a}-\x{206f}\x{feff}\x{fff9}-\x{fffc}]"
        ),
        "",
    ),
    (Regex(r"[\x{2bc}\x{2018}-\x{201b}\x{ff07}]"), "'"),
    (Regex(r"[\x{201c}-\x{201f}\x{ff02}]"), '"'),
    *{
        "&amp;": "&",
        "ﬀ": "ff",
        "ﬁ": "fi",
        "ﬂ": "fl",
        "ﬃ": "ffi",
        "ﬄ": "ffl",
        "ﬅ": "ſt",
        "ﬆ": "st",
    }.items(),
    (Regex(r"[\x{2013}-\x{2015}]"), "-"),
    (Regex(r"[\x{85}\x{2026}]"), "..."),
    ("´", "'"),
)
_LINE_BREAKS = Regex(r"\s*[\n\r\x{2028}\x{2029}]\s*")
# Python's lower() writes a sigma that ends a word in its own form.
_FINAL_SIGMA = Regex(r"(?<=\p{L})Σ(?!\p{L})")
_SPACES = Regex(r"[^\S\n]+")
_WORDS = [
    pre_tokenizers.Split(_RUN, "isolated"),
    pre_tokenizers.Split("\n", "isolated"),
    pre_tokenizers.Split(_SPACES, "removed"),
]


def write(
    tokenizer: Tokenizer,
    directory: Path,
    *,
    context_length: int,
    has_specials: bool = False,
) -> None:
    """Writes tokenizer.json and tokenizer_config.json for AutoTokenizer.

    The token of a line break is named bos, eos and pad; it is never added by itself.
    Args: has_specials: adds the special tokens of fine-tuning, and puts them around one
          text or two as Figure 1 does.
    """
    fast = _fast(tokenizer)
    newline = fast.id_to_token(tokenizer.newline_id)
    # Not special, so that `tokenizers` decodes it; transformers makes it special.
    fast.add_tokens([lib.AddedToken(newline, normalized=False, special=False)])
    if has_specials:
        _add_specials(fast)
    fields = {
        # Without it AutoTokenizer would rebuild OpenAIGPTTokenizer, with other ids.
        "tokenizer_class": "PreTrainedTokenizerFast",
        "bos_token": newline,
        "eos_token": newline,
        "pad_token": newline,
        "padding_side": "right",
        "model_max_length": context_length,
        "clean_up_tokenization_spaces": False,
    }
    write_atomically(directory / FILE_NAME, fast.to_str(pretty=True) + "\n")
    write_atomically(directory / _CONFIG_NAME, json.dumps(fields, indent=2) + "\n")


def _add_specials(fast: lib.Tokenizer) -> None:
    """Adds the three tokens after the vocabulary, and their places."""
    start, delimiter, classify = _SPECIALS
    fast.add_special_tokens(list(_SPECIALS))
    fast.post_processor = lib.processors.TemplateProcessing(
        single=f"{start} $A {classify}",
        pair=f"{start} $A {delimiter} $B:0 {classify}",
        special_tokens=[(name, fast.token_to_id(name)) for name in _SPECIALS],
    )


def _fast(tokenizer: Tokenizer) -> lib.Tokenizer:
    """Returns the tokenizer of the library that has the ids of `tokenizer`.

    Raises: UserError: it keeps case and indentation.
    """
    if tokenizer.is_cased:
        raise UserError(
            "the model's tokenizer was trained with data.lowercase=False; transformers "
            "gets only tokenizers that lower-case; train one with data.lowercase=True"
        )
    if isinstance(tokenizer, tokenizers.SentencePieceTokenizer):
        return _from_sentencepiece(tokenizer)
    boundaries: tuple[str, ...] = ()
    if isinstance(tokenizer, tokenizers.BytePairTokenizer):
        model = tokenizer.encoding.model
    else:
        assert isinstance(tokenizer, openai_bpe.OpenAITokenizer)
        model, boundaries = tokenizer.model, english_words.BOUNDARIES
    fast = lib.Tokenizer(model)
    fast.normalizer = _cleaning(boundaries)
    fast.pre_tokenizer = pre_tokenizers.Sequence(_WORDS)
    unknown = model.unk_token
    fast.decoder = decoders.Sequence(
        [
            *([decoders.Replace(unknown, f"{unknown} ")] if unknown else []),
            decoders.ByteFallback(),
            decoders.Fuse(),
            decoders.Replace(bpe.END_OF_WORD, " "),
            decoders.Replace(Regex(r" *\n *"), "\n"),
            # Not decoders.Strip, which fails on an empty text.
            decoders.Replace(Regex(r"\A +| +\z"), ""),
        ]
    )
    return fast


def _cleaning(boundaries: tuple[str, ...] = ()) -> Any:
    """Returns `clean.standardize` and lower-casing as a normalizer.

    Args: boundaries: patterns of the places that get a space before lower-casing.
    """
    return normalizers.Sequence(
        [
            *(normalizers.Replace(*pair) for pair in _REPLACED),
            normalizers.NFC(),
            normalizers.Replace(_LINE_BREAKS, "\n"),
            *(normalizers.Replace(Regex(pattern), " ") for pattern in boundaries),
            normalizers.Replace(_FINAL_SIGMA, "ς"),
            normalizers.Lowercase(),
            normalizers.Replace(_SPACE, "_"),
            normalizers.Strip(),
        ]
    )


def _from_sentencepiece(tokenizer: tokenizers.SentencePieceTokenizer) -> lib.Tokenizer:
    id_of = {piece: number for number, piece in enumerate(tokenizer.pieces)}
    fast = lib.Tokenizer(
        models.BPE(id_of, _merges(tokenizer.pieces, id_of), byte_fallback=True)
    )
    fast.normalizer = _cleaning()
    fast.pre_tokenizer = pre_tokenizers.Sequence(
        [
            *_WORDS,
            pre_tokenizers.Metaspace(_SPACE, prepend_scheme="always", split=False),
            # A line break is no word, so it has no sign of a space.
            pre_tokenizers.Split(Regex(f"{_SPACE}(?=\n)"), "removed"),
        ]
    )
    fast.decoder = decoders.Sequence(
        [
            decoders.ByteFallback(),
            decoders.Fuse(),
            decoders.Replace(_SPACE, " "),
            decoders.Replace("\n ", "\n"),
            decoders.Replace(Regex(r"\A "), ""),
        ]
    )
    return fast


def _merges(pieces: list[str], id_of: dict[str, int]) -> list[tuple[str, str]]:
    """Returns the pairs that SentencePiece joins, the preferred ones first.

    It prefers the pair whose joined piece has the lowest id.
    """
    found = []
    for piece in pieces:
        if piece in bpe.BYTES:
            continue
        for cut in range(1, len(piece)):
            pair = (piece[:cut], piece[cut:])
            if pair[0] in id_of and pair[1] in id_of:
                found.append(pair)
    return found


def load(directory: Path) -> Tokenizer:
    """Returns the tokenizer in a folder of transformers, or in one of ours.

    Raises: UserError, NotFound: as tokenizers.load; or its cleaning is another one.
    """
    path = directory / FILE_NAME
    if not path.is_file():
        return tokenizers.load(directory)
    try:
        content = parse_json(path.read_text(encoding="utf-8"))
        pieces = sorted(content["model"]["vocab"], key=content["model"]["vocab"].get)
        normalizer, suffix = (
            content["normalizer"],
            content["model"]["end_of_word_suffix"],
        )
    except (ValueError, KeyError, TypeError, AttributeError):
        return tokenizers.load(directory)  # it says what is wrong
    is_ours = set(bpe.BYTES) <= set(pieces)
    if is_ours and normalizer and normalizer != _as_json(_cleaning()):
        raise UserError(
            f"{path}: its normalizer is not this project's, so that texts would get "
            "other ids; a tokenizer that --to huggingface wrote is expected; restore it"
        )
    if is_ours and not suffix:
        return tokenizers.SentencePieceTokenizer(_sentencepiece(pieces), str(path))
    return tokenizers.load(directory)


def _as_json(normalizer: Any) -> Any:
    """Returns a normalizer as a tokenizer.json has it."""
    empty = lib.Tokenizer(models.BPE())
    empty.normalizer = normalizer
    return parse_json(empty.to_str())["normalizer"]


def _sentencepiece(pieces: list[str]) -> bytes:
    """Returns the model file that has these pieces, as `tokenizers.train` writes it."""
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
