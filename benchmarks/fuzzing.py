"""Feeds random and damaged files to all code that reads a user's input.

A target takes valid files, a random generator and an empty directory, and calls the
package. A UserError with a message is allowed; any other exception is a fault. The
targets serve tests/reliability/test_fuzz.py and, with more cases, benchmarks/soak.py.
"""

import gzip
import json
import random
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np

from gpt1_jax import config as config_lib
from gpt1_jax import files, storyworld
from gpt1_jax.cli import outputs
from gpt1_jax.config import DataConfig, ModelConfig, RunConfig
from gpt1_jax.data import tables
from gpt1_jax.data.tasks import inputs, loading, registry
from gpt1_jax.data.text import corpus as corpus_lib
from gpt1_jax.data.text import preparation, recipes, tokenizer_training, tokenizers
from gpt1_jax.errors import UserError
from gpt1_jax.interop import huggingface, openai, weights
from gpt1_jax.workdirs import metrics_log
from gpt1_jax.workdirs import workdir as workdir_lib

_TOKENS = (
    *(b"\t", b"\n", b"\r\n", b"\0", b'"', b",", b"{", b"}", b"[", b"]", b":", b"-"),
    *(b"\xff", b"\xc3", b"\xe2\x80\xa8", b"\xef\xbb\xbf", "\U0001f600".encode()),
    *(b"null", b"true", b"NaN", b"1e999", b"-1", b"0", b"9" * 5000, b"[" * 3000),
    *(b"../", b"1", b"A", b" ", b"a" * 4000, b"12345678901234567890"),
)


def mutated(data: bytes, rng: random.Random) -> bytes:
    """Returns `data` with one to four random cuts, repeats, changes or insertions."""
    for _ in range(rng.randint(1, 4)):
        start = rng.randrange(len(data) + 1)
        end = min(len(data), start + int(rng.expovariate(1 / 20)))
        kind = rng.randrange(5)
        if kind == 0:
            data = data[:start] + data[end:]
        elif kind == 1:
            data = data[:end] + data[start:]
        elif kind == 2:
            data = data[:start] + rng.choice(_TOKENS) + data[start:]
        elif kind == 3:
            data = data[:start] + rng.choice(_TOKENS) + data[end:]
        else:
            data = data[:start] + rng.randbytes(end - start) + data[end:]
    return data


def anything(rng: random.Random) -> bytes:
    """Returns a random mixture of text, JSON and other bytes."""
    pieces = [rng.choice(_TOKENS) for _ in range(rng.randrange(30))]
    return b"".join(
        piece if rng.random() < 0.9 else rng.randbytes(9) for piece in pieces
    )


class Corpus:
    """Small valid files of every format, which the targets damage."""

    def __init__(self, directory: Path):
        self.directory = directory
        self.tasks_dir = directory / "tasks"
        storyworld.write_tasks(self.tasks_dir, seed=0)
        self.splits = [
            (task, split, file)
            for task in registry.TASKS.values()
            for split in task.files
            if (file := self._file(task, split))
        ]
        text = " ".join(f"the boat of {n} sank near the old pier ." for n in range(90))
        self.tokenizer_dir = directory / "tokenizer"
        tokenizer_training.train([text], 300).save(self.tokenizer_dir)
        self.store_dir = self._prepared(directory / "books", text)
        self.released_dir = directory / "openai"
        self._write_weights()

    def _file(self, task: registry.Task, split: str) -> Path | None:
        for file in task.files[split]:
            for found in sorted(self.tasks_dir.glob(file.pattern)):
                inside = sorted(found.rglob("*.txt")) if found.is_dir() else [found]
                return inside[0]
        return None

    def _prepared(self, books_dir: Path, text: str) -> Path:
        """Returns the store of three books."""
        books_dir.mkdir()
        for number in range(3):
            (books_dir / f"{number}.txt").write_text(text[number:])
        config = DataConfig(corpus=str(books_dir), tokenizer=str(self.tokenizer_dir))
        store_dir = self.directory / "store"
        preparation.prepare(recipes.make_recipe(config), store_dir, workers=1)
        return store_dir

    def _write_weights(self) -> None:
        model = ModelConfig(
            num_layers=1, width=64, num_heads=1, mlp_width=256, context_length=5
        )
        rng = np.random.default_rng(0)
        params = {
            path: rng.standard_normal(shape).astype(np.float32)
            for path, shape in weights.expected_shapes(model, 11).items()
        }
        found = weights.Weights(params, model)
        openai.write(found, self.released_dir)
        huggingface.write(found, self.directory / "huggingface")


def _check(call: Callable[[], object]) -> None:
    """Calls `call`; a UserError must have a message, which must not be too long."""
    message = "a result"
    try:
        call()
    except UserError as error:
        message = str(error)
    assert 0 < len(message) < 20_000, message[:1000]


def config_overrides(corpus: Corpus, rng: random.Random, directory: Path) -> None:
    """Checks configs with one random field, as --axis parses it."""
    flat = config_lib.flatten(RunConfig())
    path = rng.choice([*flat, "model", "model.widht", ""])
    text = anything(rng).decode(errors="replace")[:200]
    numbers = ["0", "-1", "1e3", "inf", "nan", "2147483647", "99999999999", "7", "1+2"]
    text = rng.choice([text, *numbers])

    def call() -> None:
        fields = flat | {path: config_lib.parse(path, text)}
        fields["model.num_heads"] = rng.choice([1, 7, 12, 2**31 - 1])
        config = config_lib.to_config_dict(RunConfig())
        config.update_from_flattened_dict(fields)
        config_lib.checked(config)

    _check(call)


def corpus_bytes(corpus: Corpus, rng: random.Random, directory: Path) -> None:
    """Prepares books of any bytes; each token must be in the vocabulary."""
    for number in range(3):
        text = b"the boat sank . " * rng.randrange(9)
        data = rng.choice([anything(rng), mutated(text, rng), text])
        (directory / f"{number}.txt").write_bytes(data)
    pattern = str(directory / "*.txt")

    def call() -> None:
        config = DataConfig(
            corpus=pattern, holdout_fraction=0.3, tokenizer=str(corpus.tokenizer_dir)
        )
        recipe = recipes.make_recipe(config)
        store = preparation.prepare(recipe, directory / "store", workers=1)
        assert sum(map(len, store.eval_books)) + len(store.train_tokens) > 0
        assert int(store.train_tokens.max(initial=0)) < store.tokenizer.vocab_size

    _check(call)


def task_files(corpus: Corpus, rng: random.Random, directory: Path) -> None:
    """Reads task files; examples must have texts and allowed labels."""
    task, split, original = rng.choice(corpus.splits)
    lines = original.read_bytes().splitlines(keepends=True)[:8]
    whole = b"".join(lines) if len(lines) > 1 else original.read_bytes()
    data = mutated(whole, rng) if rng.random() < 0.9 else anything(rng)
    path = directory / original.relative_to(corpus.tasks_dir)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)
    if (ids := original.with_name("mrpc_dev_ids.tsv")).is_file():
        path.with_name(ids.name).write_bytes(ids.read_bytes())

    def call() -> None:
        for example in loading.load(task, split, task_dir=directory).examples:
            texts = (*example.parts, example.context, example.question)
            assert all(isinstance(text, str) for text in texts), example
            label = example.label
            most = len(task.classes) or 5
            assert label is None or 0 <= label <= max(most, 5), example

    _check(call)


def tokenizer_files(corpus: Corpus, rng: random.Random, directory: Path) -> None:
    """Loads tokenizers of both kinds; their ids must be in the vocabulary."""
    symbols = [chr(97 + n) for n in range(26)]
    symbols += [f"{symbol}</w>" for symbol in symbols]
    pieces = [*symbols, "<unk>", "th", "the</w>", "\n</w>"]
    files = {
        "vocab.json": json.dumps({p: n for n, p in enumerate(pieces)}).encode(),
        "merges.txt": b"#version: 0.2\nt h\nth e</w>\n",
    }
    if rng.random() < 0.3:
        (learnt,) = corpus.tokenizer_dir.iterdir()
        files = {learnt.name: learnt.read_bytes()}
    name = rng.choice(list(files))
    files[name] = mutated(files[name], rng)
    for name, data in files.items():
        (directory / name).write_bytes(data)

    def call() -> None:
        tokenizer = tokenizers.load(directory)
        ids = tokenizer.encode("The boat, the BOAT\n\nsank \u2028 \U0001f600")
        assert all(0 <= number < tokenizer.vocab_size for number in ids.tolist())
        tokenizer.decode(ids.tolist())

    _check(call)


def foreign_weights(corpus: Corpus, rng: random.Random, directory: Path) -> None:
    """Reads released and Hugging Face weights; arrays must be finite and fit."""
    name, reader = rng.choice(
        [("openai", openai.read), ("huggingface", huggingface.read)]
    )
    originals = sorted((corpus.directory / name).iterdir())
    damaged = rng.choice(originals)
    for path in originals:
        data = path.read_bytes()
        if path == damaged:
            head = rng.choice([len(data), 200])  # headers are short and say the most
            data = mutated(data[:head], rng) + data[head:]
        (directory / path.name).write_bytes(data)

    def call() -> None:
        found = reader(directory)
        found = found[0] if isinstance(found, tuple) else found
        expected = weights.expected_shapes(found.model, found.num_rows)
        shapes = {path: value.shape for path, value in found.params.items()}
        assert shapes == expected
        weights.check_finite(found.params, "here")

    _check(call)


def user_texts(corpus: Corpus, rng: random.Random, directory: Path) -> None:
    """Reads the input of score and predict; no line may be lost."""
    path = directory / "input.txt"
    path.write_bytes(anything(rng))
    tokenizer = tokenizers.load(corpus.tokenizer_dir)

    def scored() -> None:
        texts = tables.read_texts(path, "")
        given = path.read_bytes().removeprefix(b"\xef\xbb\xbf").removesuffix(b"\n")
        assert "\n".join(texts).encode() == given
        for text in texts:
            ids = tokenizer.encode(text)
            assert all(0 <= number < tokenizer.vocab_size for number in ids.tolist())
            tokenizer.decode(ids.tolist())

    _check(scored)
    task = rng.choice(list(registry.TASKS.values()))
    _check(lambda: inputs.read_input(task, path))


def workdir_files(corpus: Corpus, rng: random.Random, directory: Path) -> None:
    """Reads a damaged config.json, result.json or metrics.jsonl."""
    workdir_lib.write_config(directory, RunConfig())
    workdir_lib.write_result(directory, {"job": "pretrain", "steps": 3, "metrics": {}})
    rows = "".join(
        json.dumps({"step": n, "train/loss": n / 7}) + "\n" for n in range(4)
    )
    metrics = directory / workdir_lib.METRICS_FILE
    metrics.write_text(rows)
    path = rng.choice([directory / "config.json", directory / "result.json", metrics])
    path.write_bytes(mutated(path.read_bytes(), rng))
    _check(lambda: workdir_lib.read_config(directory))
    _check(lambda: workdir_lib.read_result(directory))
    _check(lambda: metrics_log.read(metrics))


def path_names(corpus: Corpus, rng: random.Random, directory: Path) -> None:
    """Prepares books below a directory of any name; the tokens are always the same."""
    characters = "[]*?!{}\\'\"$ ~#%&;\t\né漢ab.-"
    name = "".join(rng.choices(characters, k=rng.randint(1, 9))).strip(".") or "a"
    below = directory / name
    shutil.copytree(corpus.directory / "books", below / "books")
    config = DataConfig(
        corpus=str(below / "books"), tokenizer=str(corpus.tokenizer_dir)
    )
    store = preparation.prepare(recipes.make_recipe(config), below / "store", workers=1)
    assert store.fingerprint == corpus_lib.open_store(corpus.store_dir).fingerprint


def output_paths(corpus: Corpus, rng: random.Random, directory: Path) -> None:
    """Writes to any path; no input and, unasked, no other file may change."""
    given, old = directory / "given.txt", directory / "old.jsonl"
    given.write_text("given")
    old.write_text("old")
    (directory / "folder").mkdir()
    (directory / "link").symlink_to(rng.choice(["given.txt", "old.jsonl", "none"]))
    (directory / "hard").hardlink_to(rng.choice([given, old]))
    names = ["given.txt", "old.jsonl", "link", "hard", "new", "folder", "folder/x"]
    names += ["old.jsonl/x", "./folder/../given.txt", "a" * 300, "new/deep/er"]
    path = (directory / rng.choice(names)).resolve()
    overwrite = rng.random() < 0.5

    def call() -> None:
        outputs.check_output(path, [given], overwrite=overwrite)
        with files.atomic_file(path) as file:
            file.write("new")

    _check(call)
    assert given.read_text() == "given"
    assert overwrite or old.read_text() == "old"


def table_formats(corpus: Corpus, rng: random.Random, directory: Path) -> None:
    """Reads the same texts from any format and name: the same, or an error."""
    words = ["boat", 'a "pier"', "x, y", "{", "é漢", "text", "1", "#", "'"]
    texts = [
        " ".join(rng.choices(words, k=rng.randint(1, 6)))
        for _ in range(rng.randint(1, 9))
    ]
    contents = {
        ".jsonl": "".join(f"{json.dumps({'text': text})}\n" for text in texts),
        ".tsv": "".join(f"{text}\n" for text in ["text", *texts]),
        ".csv": "".join(
            '"' + text.replace('"', '""') + '"\n' for text in ["text", *texts]
        ),
        ".txt": "".join(f"{text}\n" for text in texts),
    }
    suffix = rng.choice(list(contents))
    named = suffix if rng.random() < 0.7 else rng.choice(list(contents))
    raw, ending = contents[suffix].encode(), rng.choice(["", ".gz"])
    is_packed = bool(ending) if rng.random() < 0.8 else not ending
    path = directory / f"a{named}{ending}"
    path.write_bytes(gzip.compress(raw) if is_packed else raw)

    def call() -> None:
        found = tables.read_texts(path, "")
        # A table that is named as text, or as another table of text, is not told.
        assert found == texts or named != suffix

    _check(call)


def changed_stores(corpus: Corpus, rng: random.Random, directory: Path) -> None:
    """Opens a store of which a file has changed: the same tokens, or an error."""
    store_dir = directory / "store"
    shutil.copytree(corpus.store_dir, store_dir)
    corpus_lib.open_store(store_dir)  # remembers the files that are verified
    path = rng.choice(sorted(path for path in store_dir.rglob("*") if path.is_file()))
    path.write_bytes(mutated(path.read_bytes(), rng))

    def call() -> None:
        store = corpus_lib.open_store(store_dir)
        expected = corpus_lib.open_store(corpus.store_dir)
        assert np.array_equal(store.train_tokens, expected.train_tokens)
        assert store.tokenizer.fingerprint == expected.tokenizer.fingerprint

    _check(call)


TARGETS: dict[str, Callable[[Corpus, random.Random, Path], None]] = {
    target.__name__: target
    for target in (
        config_overrides,
        corpus_bytes,
        task_files,
        tokenizer_files,
        foreign_weights,
        user_texts,
        workdir_files,
        path_names,
        output_paths,
        table_formats,
        changed_stores,
    )
}


def directories(parent: Path) -> Iterator[Path]:
    """Yields new empty directories."""
    number = 0
    while True:
        path = parent / f"{number:06d}"
        path.mkdir()
        yield path
        number += 1
