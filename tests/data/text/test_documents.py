import collections
import gzip
import hashlib
import json
import tracemalloc

import pyarrow
import pyarrow.ipc
import pyarrow.parquet
import pytest

from gpt1_jax.config import DataConfig
from gpt1_jax.data import tables
from gpt1_jax.data.text import documents as documents_lib
from gpt1_jax.data.text import preparation, splitting, tokenizers
from tests.processes import run_module

TEXTS = [
    "The boat.\n\n  The “river” sank.\n",
    "The old man said no.",
    "",
    "Café, one line\nand another\n",
    "x",
]
TRAIN_ON = [f"The dog number {number} ran home." for number in range(20)]


def write_jsonl(path, texts):
    path.write_text("".join(json.dumps({"text": t, "n": 1}) + "\n" for t in texts))


def write_parquet(path, texts):
    table = pyarrow.table({"n": [1] * len(texts), "text": texts})
    pyarrow.parquet.write_table(table, path, row_group_size=3)


def write_arrow(path, texts):
    table = pyarrow.table({"text": texts, "n": [1] * len(texts)})
    with pyarrow.ipc.new_stream(str(path), table.schema) as writer:
        writer.write_table(table, max_chunksize=3)


def write_arrow_file(path, texts):
    table = pyarrow.table({"text": texts})
    with pyarrow.ipc.new_file(str(path), table.schema) as writer:
        writer.write_table(table, max_chunksize=3)


def write_csv(path, texts):
    cells = [text.replace('"', '""') for text in texts]
    path.write_text("n,text\n" + "".join(f'1,"{cell}"\n' for cell in cells))


WRITERS = {
    "jsonl": write_jsonl,
    "parquet": write_parquet,
    "arrow": write_arrow,
    "csv": write_csv,
}


def compress(path, suffix):
    """Replaces a file by a compressed one; returns its path."""
    if not suffix:
        return path
    packed = path.with_name(path.name + suffix)
    raw = path.read_bytes()
    if suffix == ".gz":
        packed.write_bytes(gzip.compress(raw))
    else:
        packed.write_bytes(pyarrow.compress(raw, "zstd", asbytes=True))
    path.unlink()
    return packed


def write_files(directory, texts, suffix=""):
    directory.mkdir()
    for number, text in enumerate(texts):
        path = directory / f"{number:03}.txt"
        path.write_bytes(text.encode())
        compress(path, suffix)
    return directory


def prepare(tmp_path, tokenizer_dir, corpus, **changes):
    settings = {"holdout_fraction": 0.2, "tokenizer": str(tokenizer_dir)} | changes
    config = DataConfig(
        corpus=str(corpus), cache_dir=str(tmp_path / "cache"), **settings
    )
    return preparation.open_corpus(config)


def read(path, kind="text", unit="file", *, strips_boilerplate=True, column=""):
    """Returns the texts of a file's documents, their hashes, and what was cut."""
    counts = collections.Counter()
    options = documents_lib.ReadOptions(kind, unit, column, strips_boilerplate)
    texts, hashes = [], []
    for document in documents_lib.read(path, options, counts):
        texts.append("\n".join(piece for piece, _ in document.pieces))
        hashes.append(document.digest.hexdigest())
    return texts, hashes, +counts


@pytest.mark.parametrize("compression", ["", ".gz", ".zst"])
@pytest.mark.parametrize("kind", ["txt", *WRITERS])
def test_every_format_has_the_tokens_of_the_text_files(
    tmp_path, tokenizer_dir, kind, compression
):
    texts = TEXTS + TRAIN_ON
    plain = prepare(tmp_path, tokenizer_dir, write_files(tmp_path / "plain", texts))
    if kind == "txt":
        given = write_files(tmp_path / "given", texts, compression)
    else:
        path = tmp_path / f"corpus.{kind}"
        WRITERS[kind](path, texts)
        given = compress(path, compression)
    store = prepare(tmp_path, tokenizer_dir, given)
    assert store.meta["tokens_sha256"] == plain.meta["tokens_sha256"]
    assert store.meta["offsets_sha256"] == plain.meta["offsets_sha256"]
    for key in ("tokens", "words", "documents", "empty_documents"):
        assert store.meta[key] == plain.meta[key]
    assert store.meta["tokens"]["valid"] > 0
    assert store.meta["empty_documents"] == 1
    if kind != "txt":
        (book,) = store.meta["books"]
        words = sum(len(text.split()) for text in texts)
        assert (book["words"], book["documents"]) == (words, len(texts))
        assert book["splits"]["valid"]["tokens"] == store.meta["tokens"]["valid"]


def test_a_saved_data_set_is_read_with_its_splits(tmp_path, tokenizer_dir, capsys):
    saved = tmp_path / "saved"
    texts_of = {"train": TRAIN_ON, "validation": TEXTS, "test": TEXTS}
    for split, texts in texts_of.items():
        part = saved / split
        part.mkdir(parents=True)
        names = ["data-00000-of-00002.arrow", "data-00001-of-00002.arrow"]
        write_arrow(part / names[0], texts[:3])
        write_arrow(part / names[1], texts[3:])
        listed = [{"filename": name} for name in names]
        (part / "state.json").write_text(json.dumps({"_data_files": listed}))
        (part / "dataset_info.json").write_text("{}")
    splits = {"splits": ["unsupervised", "train", "test", "validation"]}
    (saved / "dataset_dict.json").write_text(json.dumps(splits))
    store = prepare(tmp_path, tokenizer_dir, saved)
    shown = " ".join(capsys.readouterr().out.split())
    expected = "splits: train, held out validation; not read: unsupervised, test"
    assert expected in shown
    prepare(tmp_path, tokenizer_dir, saved, eval_corpus=str(saved / "test"))
    shown = " ".join(capsys.readouterr().out.split())
    assert "splits: train; not read: unsupervised, test, validation" in shown
    train = write_files(tmp_path / "train", TRAIN_ON)
    valid = write_files(tmp_path / "valid", TEXTS)
    expected = prepare(tmp_path, tokenizer_dir, train, eval_corpus=str(valid))
    assert store.meta["tokens_sha256"] == expected.meta["tokens_sha256"]
    assert store.meta["tokens"] == expected.meta["tokens"]
    part = prepare(tmp_path, tokenizer_dir, saved / "train")
    assert sum(part.meta["documents"].values()) == len(TRAIN_ON)
    (saved / "train" / names[1]).unlink()
    with pytest.raises(ValueError, match=r"00001-of-00002.arrow is not there, but sta"):
        prepare(tmp_path, tokenizer_dir, saved)
    (saved / "train" / "state.json").write_text('{"_data_files": []}')
    with pytest.raises(ValueError, match=r"state.json is damaged .*; a file that `dat"):
        prepare(tmp_path, tokenizer_dir, saved)
    (saved / "dataset_dict.json").write_text('{"splits": ["test"]}')
    with pytest.raises(ValueError, match=r"has the splits test; a split train is exp"):
        prepare(tmp_path, tokenizer_dir, saved)


CONTENT = "first line\r\nsecond\n\n  \nthird  \n\nlast"


@pytest.mark.parametrize(
    ("unit", "expected"),
    [
        ("file", ["first line\nsecond\n\n  \nthird  \n\nlast"]),
        ("line", ["first line", "second", "", "  ", "third  ", "", "last"]),
        ("blank_line", ["first line\nsecond", "third  ", "last"]),
    ],
)
def test_documents_of_a_text_file(tmp_path, unit, expected):
    path = tmp_path / "a.txt"
    path.write_bytes(b"\xef\xbb\xbf" + CONTENT.encode())
    texts, hashes, _ = read(path, unit=unit)
    assert texts == expected
    sources = [path.read_bytes()] if unit == "file" else map(str.encode, expected)
    assert hashes == [hashlib.sha256(raw).hexdigest() for raw in sources]


def test_large_files_are_scanned_and_encoded_in_chunks(
    tmp_path, tokenizer_dir, monkeypatch
):
    path = tmp_path / "a.jsonl"
    write_jsonl(path, TEXTS + TRAIN_ON)
    whole = prepare(tmp_path, tokenizer_dir, path)
    monkeypatch.setattr(documents_lib, "_CHUNK_BYTES", 100)
    config = DataConfig(corpus=str(path))
    (source,) = splitting.find(config, str(path), "").sources
    assert len(source.chunks) > 3
    assert source.num_documents == 25
    monkeypatch.setattr("gpt1_jax.data.text.encoding._GROUP_BYTES", 100)
    in_chunks = prepare(tmp_path / "again", tokenizer_dir, path)
    assert in_chunks.meta["tokens_sha256"] == whole.meta["tokens_sha256"]
    assert in_chunks.meta["tokens"] == whole.meta["tokens"]


def test_the_end_of_a_single_document_is_held_out(tmp_path, tokenizer_dir, tokenizer):
    path = tmp_path / "one.txt"
    path.write_text("\n".join(TRAIN_ON))
    store = prepare(tmp_path, tokenizer_dir, path)
    ids = tokenizer.encode(path.read_text())
    held_out = round(len(ids) * 0.05)
    assert store.train_tokens.tolist() == ids[:-held_out].tolist()
    (end,) = store.eval_books
    assert end.tolist() == ids[-held_out:].tolist()
    (book,) = store.meta["books"]
    assert (book["documents"], book["tokens"], book["words"]) == (1, len(ids), 120)
    assert book["splits"]["valid"]["tokens"] == held_out
    assert "held out: 4.9%" in preparation.describe(store)


def test_held_out_documents_are_those_of_low_hash(tmp_path, tokenizer_dir, tokenizer):
    path = tmp_path / "lines.txt"
    path.write_text("\n".join(TRAIN_ON))
    store = prepare(tmp_path, tokenizer_dir, path, documents="line")
    shares = {
        text: int(hashlib.sha256(text.encode()).hexdigest(), 16) / 2**256
        for text in TRAIN_ON
    }
    expected = [text for text in TRAIN_ON if shares[text] < 0.2]
    assert 0 < len(expected) < 10
    found = [tokenizer.decode(ids.tolist()) for ids in store.eval_books]
    assert found == [tokenizer.decode(tokenizer.encode(text)) for text in expected]


@pytest.mark.parametrize(
    ("name", "content", "changes", "message"),
    [
        (
            "a.jsonl",
            b'{"text": "a"}\n{"text": "b",}\n',
            {},
            r"a.jsonl: line 2, column 1[34]: .*; a JSON object on each line is",
        ),
        ("a.jsonl", b'{"body": "a", "n": 1}\n', {}, r"no column 'text'; its columns "),
        ("a.jsonl", b'{"body": "a", "n": 1}\n', {}, r"with --text_column"),
        (
            "a.jsonl",
            b'{"text": 3}\n',
            {},
            r"line 1: 3 in column text; a text is expect",
        ),
        (
            "a.jsonl",
            b'{"text": "a"}\n{"body": "b", "n": 1}\n',
            {},
            r"a.jsonl: line 2 has no column 'text'; its columns are body, n; correct",
        ),
        (
            "a.csv",
            b"n,text\n1,a\n2\n",
            {},
            r"a.csv: line 3 has no column 'text'; its columns are n; correct or",
        ),
        (
            "a.jsonl",
            b'{"Body": 3}\n',
            {"text_column": "body"},
            r"line 1: 3 in column Body; a text is expected",
        ),
        ("a.jsonl", b'{"text": null}\n', {}, r"no text in 1 file;"),
        ("a.jsonl", b"", {}, r"a.jsonl is empty; a row is expected"),
        (
            "a.jsonl",
            b'{"text": "a"}\n',
            {"documents": "line"},
            r"data.documents=line, but .*a.jsonl is JSON Lines; a document of it is",
        ),
        (
            "a.txt",
            b"a text",
            {"documents": "record"},
            r"data.documents=record, but .*a.txt is text; .*; use data.documents=auto",
        ),
        ("a.parquet", b"PAR1 and no more", {}, r"a.parquet is a damaged parquet file"),
        ("a.arrow", b"\xff\xff\xff\xff\x10", {}, r"a.arrow is a damaged Arrow file"),
        ("a.arrow", b"no Arrow", {}, r"named as Arrow, but is not; .*; rename it"),
        (
            "a.txt",
            b"fine\ncaf\xe9\n",
            {"documents": "line"},
            r"a.txt: line 2: byte 0xe9 is not UTF-8",
        ),
    ],
)
def test_damaged_corpora_are_refused_by_name(
    tmp_path, tokenizer_dir, name, content, changes, message
):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(ValueError, match=message):
        prepare(tmp_path, tokenizer_dir, tmp_path / name, **changes)


def test_arrow_files_are_read_as_arrow_streams_are(tmp_path):
    write_arrow(tmp_path / "stream.arrow", TEXTS)
    write_arrow_file(tmp_path / "file.arrow", TEXTS)
    expected = [text.rstrip("\n") for text in TEXTS]
    for name in ("stream.arrow", "file.arrow"):
        texts, _, _ = read(tmp_path / name, "Arrow", "record")
        assert [text.rstrip("\n") for text in texts] == expected


def test_prepare_has_the_flags_of_the_corpus(tmp_path, tokenizer_dir):
    rows = [json.dumps({"body": text}) for text in TRAIN_ON]
    (tmp_path / "a.jsonl").write_text("\n".join(rows))
    done = run_module(
        "gpt1_jax.prepare",
        [
            f"--corpus={tmp_path / 'a.jsonl'}",
            f"--output={tmp_path / 'store'}",
            f"--tokenizer={tokenizer_dir}",
            "--text_column=body",
            "--documents=record",
            "--holdout_fraction=0.2",
        ],
    )
    assert done.returncode == 0, done.stderr
    meta = json.loads((tmp_path / "store" / "meta.json").read_text())
    assert sum(meta["documents"].values()) == 20
    assert meta["documents"]["valid"] > 1


def test_only_a_null_is_an_empty_document(tmp_path):
    path = tmp_path / "a.jsonl"
    path.write_text('{"text": null}\n{"Text": "a"}\n{"text": ""}\n')
    assert read(path, "JSON Lines", "record")[0] == ["", "a", ""]


@pytest.mark.parametrize("kind", ["parquet", "Arrow"])
def test_records_of_the_size_of_books_are_read_one_at_a_time(tmp_path, kind):
    path = tmp_path / "books"
    table = pyarrow.table({"n": list(range(32)), "text": ["a book " * 150_000] * 32})
    if kind == "parquet":
        pyarrow.parquet.write_table(
            table, path, use_dictionary=False, write_batch_size=1
        )
    else:
        with pyarrow.ipc.new_stream(str(path), table.schema) as writer:
            writer.write_table(table)
    del table
    before = pyarrow.total_allocated_bytes()
    tracemalloc.start()
    most = 0
    for text in tables.stream_texts(path, kind, "text", ""):
        assert len(text) == 1_050_000
        most = max(most, pyarrow.total_allocated_bytes() - before)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert most < 12e6
    assert peak < 6e6


def test_another_column_can_be_named(tmp_path, tokenizer_dir):
    path = tmp_path / "a.jsonl"
    rows = [{"body": text, "n": 1} for text in TRAIN_ON]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    store = prepare(tmp_path, tokenizer_dir, path, text_column="Body")
    assert sum(store.meta["documents"].values()) == 20


def test_a_directory_stands_for_the_data_below_it(tmp_path, tokenizer_dir, capsys):
    corpus = tmp_path / "corpus"
    (corpus / "data" / ".hidden").mkdir(parents=True)
    write_jsonl(corpus / "data" / "b.jsonl", TRAIN_ON[:10])
    write_jsonl(corpus / "a.jsonl.old.json", TRAIN_ON[10:])
    write_jsonl(corpus / "data" / ".hidden" / "c.jsonl", TEXTS)
    for name in ("README.md", "notes.csv", "a.jsonl~", "dataset_infos.json"):
        (corpus / name).write_text("no data")
    store = prepare(tmp_path, tokenizer_dir, corpus)
    assert sum(store.meta["documents"].values()) == 20
    shown = " ".join(capsys.readouterr().out.split())
    assert "left out 3 files, as a directory stands for its .txt .md .m" in shown


def test_held_out_lines_that_are_trained_on_are_counted(
    tmp_path, tokenizer_dir, capsys
):
    (tmp_path / "a.txt").write_text("\n".join(TRAIN_ON))
    (tmp_path / "b.txt").write_text(f"another line\n{TRAIN_ON[3]}\n")
    prepare(
        tmp_path,
        tokenizer_dir,
        tmp_path / "a.txt",
        eval_corpus=str(tmp_path / "b.txt"),
        documents="line",
    )
    shown = " ".join(capsys.readouterr().out.split())
    assert "also has 1 of the 2 documents of" in shown
    assert "(50.0%)" in shown


@pytest.mark.parametrize("kind", tokenizers.TRAINED)
def test_case_is_kept_by_cased_tokenizers_only(tmp_path, tokenizer_dir, kind):
    given = write_files(tmp_path / "given", [f"{t} The END" * 9 for t in TRAIN_ON])
    with pytest.raises(ValueError, match=r"lowercase=False, but the tokenizer .* has "):
        prepare(tmp_path, tokenizer_dir, given, lowercase=False)
    settings = {"tokenizer": kind, "vocab_size": 320}
    cased = prepare(tmp_path, "", given, lowercase=False, **settings)
    text = cased.tokenizer.decode(cased.train_tokens.tolist())
    assert "The END" in text
    lower = prepare(tmp_path, "", given, **settings)
    assert lower.tokenizer.decode(lower.train_tokens.tolist()) == text.lower()
