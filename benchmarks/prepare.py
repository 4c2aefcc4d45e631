"""Preparing a corpus beside encoding alone by other libraries, in MB of text a second.

    python -m benchmarks.prepare --megabytes 16
    python -m benchmarks.prepare --corpus '/data/books/*.txt'

`1 worker` and `2 workers` do all that gpt1_jax.prepare does with a vocabulary that is
there: read, clean, encode, write the token store. The others get more: text that has
been cleaned already, and each its own vocabulary of the same size, learnt on it.
`tokenizers` is the library below transformers' fast OpenAIGPT tokenizer, with its kind
of byte-pair encoding, on all cores; `sentencepiece` encodes line by line on all cores,
without our memory of words. Both write ids as two bytes each. Learning is not timed.
"""

import json
import os
import shutil
import tempfile
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import numpy as np
import sentencepiece
import tokenizers as hf_tokenizers
from absl import flags

from benchmarks import side_by_side
from gpt1_jax import terminal
from gpt1_jax.cli import app
from gpt1_jax.config import STORYWORLD, DataConfig
from gpt1_jax.data.text import clean, preparation, tokenizers

_FLAGS = flags.FlagValues()
_COMPARISON = side_by_side.define(
    "prepare", _FLAGS, ("1 worker", "2 workers", "tokenizers", "sentencepiece")
)
_CORPUS = flags.DEFINE_string(
    "corpus", STORYWORLD, "Glob (quote it), or storyworld.", flag_values=_FLAGS
)
_MEGABYTES = flags.DEFINE_float(
    "megabytes", 16.0, "Of storyworld.", 0.1, flag_values=_FLAGS
)
_VOCAB_SIZE = flags.DEFINE_integer(
    "vocab_size", 2000, "Of all vocabularies.", 300, flag_values=_FLAGS
)
# Where the processes of the sides find what they share.
_SHARED = "GPT1_JAX_BENCHMARK_DIR"
_OURS, _THEIRS, _CLEANED = "tokenizer", "bpe.json", "cleaned"


def main() -> None:
    """Runs the command."""
    if side := _COMPARISON.side.value:
        shared = Path(os.environ[_SHARED])
        print(json.dumps(_measure(side, shared)))
        return
    with tempfile.TemporaryDirectory() as name:
        num_bytes = _make_shared(Path(name))
        terminal.say(f"{num_bytes / 1e6:.1f} MB of text")
        rounds = side_by_side.in_turn(
            _COMPARISON,
            lambda run: f"{num_bytes / 1e6 / run['seconds']:.2f} MB/s",
            side_by_side.CPU_ONLY | {_SHARED: name},
        )
    sides = side_by_side.summary(rounds)
    for row in sides.values():
        row["megabytes_per_second"] = num_bytes / 1e6 / row["median_seconds"]
    found = side_by_side.report(
        _COMPARISON, sides, megabytes=num_bytes / 1e6, vocab_size=_VOCAB_SIZE.value
    )
    terminal.say(_render(found))
    side_by_side.write(_COMPARISON, found)


def _config(shared: Path, tokenizer: str = DataConfig.tokenizer) -> DataConfig:
    return DataConfig(
        corpus=_CORPUS.value,
        tokenizer=tokenizer,
        vocab_size=_VOCAB_SIZE.value,
        cache_dir=str(shared / "cache"),
        storyworld_megabytes=_MEGABYTES.value,
    )


def _make_shared(shared: Path) -> int:
    """What all sides need: cleaned books, vocabularies. Returns the bytes of the books.

    Bytes are those of the books as they are, also for sides that see them cleaned.
    """
    recipe = preparation.recipe_of(_config(shared))
    (shared / _CLEANED).mkdir()
    for number, book in enumerate(recipe.books):
        pieces = (clean.standardize(piece) for piece, _ in clean.read_pieces(book.path))
        cleaned = shared / _CLEANED / f"{number:06d}.txt"
        cleaned.write_text("\n".join(pieces).lower(), encoding="utf-8")
    lines = (line for words in _cleaned(shared) for line in words.splitlines())
    tokenizers.learn(lines, _VOCAB_SIZE.value).save(shared / _OURS)
    model = hf_tokenizers.Tokenizer(
        hf_tokenizers.models.BPE(unk_token="<unk>", end_of_word_suffix="</w>")
    )
    model.pre_tokenizer = hf_tokenizers.pre_tokenizers.BertPreTokenizer()
    trainer = hf_tokenizers.trainers.BpeTrainer(
        vocab_size=_VOCAB_SIZE.value,
        special_tokens=["<unk>"],
        end_of_word_suffix="</w>",
        show_progress=False,
    )
    model.train_from_iterator(_cleaned(shared), trainer)
    model.save(str(shared / _THEIRS))
    return sum(book.num_bytes for book in recipe.books)


def _cleaned(shared: Path) -> Iterable[str]:
    """The cleaned books in turn."""
    for path in sorted((shared / _CLEANED).iterdir()):
        yield path.read_text(encoding="utf-8")


def _measure(side: str, shared: Path) -> dict[str, Any]:
    """The seconds of preparing all books, and how many tokens they are."""
    output = shared / "output"
    shutil.rmtree(output, ignore_errors=True)
    if side.endswith(("worker", "workers")):
        return _measure_ours(int(side.split()[0]), shared, output)
    encode = _tokenizers(shared) if side == "tokenizers" else _sentencepiece(shared)
    began = time.perf_counter()
    tokens = 0
    with output.open("wb") as file:
        for words in _cleaned(shared):
            for ids in encode(words.splitlines()):
                file.write(np.array(ids, np.uint16).tobytes())
                tokens += len(ids)
    seconds = time.perf_counter() - began
    output.unlink()
    return {"seconds": seconds, "tokens": tokens}


def _measure_ours(workers: int, shared: Path, output: Path) -> dict[str, Any]:
    recipe = preparation.recipe_of(_config(shared, str(shared / _OURS)))
    began = time.perf_counter()
    store = preparation.prepare(recipe, output, workers)
    seconds = time.perf_counter() - began
    tokens = len(store.train_tokens) + sum(map(len, store.eval_books))
    return {"seconds": seconds, "tokens": tokens}


def _tokenizers(shared: Path) -> Callable[[list[str]], Iterable[list[int]]]:
    model = hf_tokenizers.Tokenizer.from_file(str(shared / _THEIRS))
    return lambda lines: (found.ids for found in model.encode_batch_fast(lines))


def _sentencepiece(shared: Path) -> Callable[[list[str]], Iterable[list[int]]]:
    (path,) = (shared / _OURS).iterdir()
    model = sentencepiece.SentencePieceProcessor(
        model_file=str(path), num_threads=os.cpu_count()
    )
    return model.encode


def _render(found: dict[str, Any]) -> str:
    """The report as lines for the terminal."""
    sides = found["sides"]
    lines = [
        f"{side:<14} {row['megabytes_per_second']:6.2f} MB/s, "
        f"{row['rounds'][0]['tokens']:,} tokens"
        for side, row in sides.items()
    ]
    lines += side_by_side.ratio_lines(sides)
    lines.append("the last two encode only: their text has been cleaned before")
    return "\n".join([*lines, side_by_side.machine_line(found)])


if __name__ == "__main__":
    app.run(main, _FLAGS)
