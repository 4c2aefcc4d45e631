"""Compares preparing a corpus with encoding alone by other libraries.

    python -m benchmarks.prepare
    python -m benchmarks.prepare --corpus '/data/books/*.txt'

`1 worker` and `2 workers` do what gpt1_jax.prepare does once there is a vocabulary:
read, clean, encode, write the token store. The other sides get text that is already
cleaned, and vocabularies of the same size learnt on it. `tokenizers` is the library of
transformers' OpenAIGPT tokenizer; `sentencepiece` encodes line by line, without our
cache of words. Both use all cores and write two bytes an id. Learning is not timed.
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
from gpt1_jax.data.text import (
    clean,
    documents,
    preparation,
    recipes,
    tokenizer_training,
)

_FLAGS = flags.FlagValues()
_COMPARISON = side_by_side.define(
    "prepare", _FLAGS, ("1 worker", "2 workers", "tokenizers", "sentencepiece")
)
_CORPUS = flags.DEFINE_string(
    "corpus", STORYWORLD, "Glob (quote it), or storyworld.", flag_values=_FLAGS
)
_MEGABYTES = flags.DEFINE_float(
    "megabytes", 16.0, "Size of storyworld's books.", 0.1, flag_values=_FLAGS
)
_VOCAB_SIZE = flags.DEFINE_integer(
    "vocab_size", 2000, "Size of all vocabularies.", 300, flag_values=_FLAGS
)
# The variable that names the directory that all sides' processes share.
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
        measures = side_by_side.in_processes(
            _COMPARISON, side_by_side.CPU_ONLY | {_SHARED: name}
        )
        rounds = side_by_side.run_rounds(
            _COMPARISON, measures, lambda run: f"{run['seconds']:.2f} s"
        )
    sides = side_by_side.summary(rounds)
    for row in sides.values():
        row["megabytes_per_second"] = num_bytes / 1e6 / row["median_seconds"]
    side_by_side.publish(
        _COMPARISON,
        sides,
        {
            "MB/s": lambda row: f"{row['megabytes_per_second']:.2f}",
            "tokens": lambda row: f"{row['rounds'][0]['tokens']:,}",
            "time over 1 worker's": side_by_side.ratio,
        },
        megabytes=num_bytes / 1e6,
        vocab_size=_VOCAB_SIZE.value,
    )


def _config(shared: Path, tokenizer: str = DataConfig.tokenizer) -> DataConfig:
    return DataConfig(
        corpus=_CORPUS.value,
        tokenizer=tokenizer,
        vocab_size=_VOCAB_SIZE.value,
        cache_dir=str(shared / "cache"),
        storyworld_megabytes=_MEGABYTES.value,
    )


def _make_shared(shared: Path) -> int:
    """Writes cleaned books and vocabularies; returns the size of the original books."""
    recipe = recipes.make_recipe(_config(shared))
    (shared / _CLEANED).mkdir()
    for number, source in enumerate(recipe.sources):
        (document,) = documents.read(source.path, source.options)
        pieces = (clean.standardize(piece) for piece, _ in document.pieces)
        cleaned = shared / _CLEANED / f"{number:06d}.txt"
        cleaned.write_text("\n".join(pieces).lower(), encoding="utf-8")
    lines = (line for words in _cleaned(shared) for line in words.splitlines())
    tokenizer_training.train(lines, _VOCAB_SIZE.value).save(shared / _OURS)
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
    return sum(source.num_bytes for source in recipe.sources)


def _cleaned(shared: Path) -> Iterable[str]:
    """Yields the cleaned books."""
    for path in sorted((shared / _CLEANED).iterdir()):
        yield path.read_text(encoding="utf-8")


def _measure(side: str, shared: Path) -> dict[str, Any]:
    """Returns the seconds to prepare all books, and the number of their tokens."""
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
    recipe = recipes.make_recipe(_config(shared, str(shared / _OURS)))
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


if __name__ == "__main__":
    app.run(main, _FLAGS)
