r"""The file tokenizer.json of the library `tokenizers`, which transformers loads.

`write` gives a tokenizer's own ids, apart from what ftfy and spaCy do beyond rules on
characters, see NOT_EXPRESSED. `read` returns the tokenizer of a file of ours.
"""

import json
from pathlib import Path

import tokenizers as lib
from tokenizers import Regex, decoders, models, pre_tokenizers

from gpt1_jax.data.text import bpe, normalizer, openai_bpe, tokenizers
from gpt1_jax.data.text.tokenizers import Tokenizer
from gpt1_jax.errors import UserError
from gpt1_jax.files import write_atomically
from gpt1_jax.interop import english_words

FILE_NAME, _CONFIG_NAME = bpe.FILE_NAME, "tokenizer_config.json"
# The names of the released code, in the order of their ids.
_SPECIALS = ("_start_", "_delimiter_", "_classify_")
# The places of one text and of two among them, as in Figure 1 of the paper.
ONE_TEXT = "_start_ $A _classify_"
TWO_TEXTS = "_start_ $A _delimiter_ $B _classify_"

NOT_EXPRESSED = (
    "ftfy's repair of wrongly decoded text and of the characters U+0080 to U+009F",
    "ftfy's decoding of HTML entities other than `&amp;`, and of repeated ones, such "
    "as `&amp;amp;`",
    "ftfy's rule that text with `<` keeps its HTML entities",
    "ftfy's other forms of wide characters and of rare ligatures, such as U+01C5, and "
    "of U+0149",
    "the sign U+2581, which is cut off from its word as an underscore is",
    "the cut of words of more than 1,000 characters (SentencePiece only)",
)
# The share of the lines of novels whose ids are equal, in percent.
EQUAL_LINES_PERCENT = {"sentencepiece": 99.9, "bpe": 99.9, "openai": 99}
NOT_EXPRESSED_OF_RELEASE = (
    "spaCy's rarer rules: web addresses, emoticons, units, some abbreviations",
)
# The characters around whose runs `clean.standardize` puts spaces.
_RUN = Regex(r"""([-~!";?+,)(/*\[\]}{|_])\1*""")
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
    fast.add_special_tokens(list(_SPECIALS))
    fast.post_processor = lib.processors.TemplateProcessing(
        single=ONE_TEXT,
        pair=TWO_TEXTS,
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
    fast.normalizer = normalizer.cleaning(boundaries)
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


def _from_sentencepiece(tokenizer: tokenizers.SentencePieceTokenizer) -> lib.Tokenizer:
    id_of = {piece: number for number, piece in enumerate(tokenizer.pieces)}
    fast = lib.Tokenizer(
        models.BPE(id_of, _merges(tokenizer.pieces, id_of), byte_fallback=True)
    )
    fast.normalizer = normalizer.cleaning()
    fast.pre_tokenizer = pre_tokenizers.Sequence(
        [
            *_WORDS,
            pre_tokenizers.Metaspace(
                normalizer.SPACE_MARK, prepend_scheme="always", split=False
            ),
            # A line break is no word, so it has no sign of a space.
            pre_tokenizers.Split(Regex(f"{normalizer.SPACE_MARK}(?=\n)"), "removed"),
        ]
    )
    fast.decoder = decoders.Sequence(
        [
            decoders.ByteFallback(),
            decoders.Fuse(),
            decoders.Replace(normalizer.SPACE_MARK, " "),
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
