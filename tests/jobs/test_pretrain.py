"""Pre-training as its user runs it: whole processes on tiny storyworld runs."""

import collections
import json
import shutil
import signal
from pathlib import Path

import jax
import numpy as np
import pytest

import gpt1_jax
from gpt1_jax import config as config_lib
from gpt1_jax.distributed import host_memory, memory
from gpt1_jax.jobs import pretrain
from gpt1_jax.workdirs import workdir as workdir_lib
from tests.event_files import tags_in, texts_in
from tests.jobs.runs import (
    arguments,
    finish,
    losses,
    rows_without_clock,
    start,
    wait_for,
    wait_for_rows,
)
from tests.processes import run_module


@pytest.fixture(scope="module")
def cache_dir(tmp_path_factory) -> Path:
    """Prepared stores, shared by the processes of this file."""
    return tmp_path_factory.mktemp("cache")


@pytest.fixture(scope="module")
def ended(tmp_path_factory, cache_dir) -> tuple[Path, str, str]:
    """A finished run, and what it printed on its two streams."""
    workdir = tmp_path_factory.mktemp("unbroken") / "run"
    done = run_module("gpt1_jax.main", arguments(workdir, cache_dir))
    assert done.returncode == 0, done.stderr
    return workdir, done.stdout, done.stderr


@pytest.fixture(scope="module")
def unbroken(ended) -> tuple[Path, str]:
    """A finished run, and what it printed."""
    return ended[:2]


def test_normal_run_prints_nothing_of_the_libraries(ended):
    _, output, errors = ended
    assert errors == ""
    assert "warning" not in output.lower()


def test_run_ends_with_scores_baseline_samples_and_what_to_type_next(unbroken):
    workdir, output = unbroken
    result = json.loads((workdir / "result.json").read_text())
    assert result["job"] == "pretrain"
    assert result["steps"] == 10
    assert result["seconds"] > 0
    metrics = result["metrics"]
    assert metrics["eval/perplexity"] == pytest.approx(np.exp(metrics["eval/loss"]))
    assert 20 < metrics["eval/unigram_perplexity"] < 500
    assert f"{metrics['eval/perplexity']:.2f}" in output
    assert output.count(" |") == 1 + 3  # the heading, and three samples
    assert f"gpt1_jax.generate --checkpoint {workdir}" in output


def test_every_step_has_one_row_and_evaluations_share_it(unbroken):
    workdir, _ = unbroken
    rows = rows_without_clock(workdir)
    assert [row["step"] for row in rows] == list(range(1, 11))
    evaluated = [row["step"] for row in rows if "eval/perplexity" in row]
    assert evaluated == [5, 10]
    assert rows[0]["train/learning_rate"] == 0.0
    assert rows[9]["train/learning_rate"] > 0.0


def test_tensorboard_shows_the_curves_the_samples_and_the_config(unbroken):
    workdir, output = unbroken
    tags = collections.Counter(tags_in(workdir))
    for name in ("loss", "learning_rate", "grad_norm", "tokens_per_second"):
        assert tags[f"train/{name}"] == 10
    assert tags["eval/perplexity"] == 2
    ((step, samples),) = texts_in(workdir, "samples")
    assert step == 10
    assert samples.splitlines()[-1] in output
    ((step, config),) = texts_in(workdir, "config")
    assert step == 0
    heading, rule, *rows = config.splitlines()
    assert (heading, rule) == ("| field | value |", "|---|---|")
    fields = config_lib.flatten(workdir_lib.read_config(workdir))
    assert len(rows) == len(fields)
    assert "| model.width | `32` |" in rows
    assert '| data.corpus | `"storyworld"` |' in rows
    assert "| train.remat | `false` |" in rows


def test_the_same_command_again_reports_and_changes_nothing(unbroken, cache_dir):
    workdir, _ = unbroken
    before = (workdir / "metrics.jsonl").read_bytes()
    output = finish(start(workdir, cache_dir))
    assert "is finished" in output
    assert (workdir / "metrics.jsonl").read_bytes() == before


def test_another_config_in_the_same_workdir_is_refused(unbroken, cache_dir):
    workdir, _ = unbroken
    process = start(workdir, cache_dir, seed=1, train__log_every_steps=2)
    output, _ = process.communicate()
    assert process.returncode == 2
    assert "seed: 0 -> 1" in output
    differences = output.partition("; ")[0]
    assert "log_every_steps" not in differences


def test_short_held_out_books_and_a_finished_workdir_without_checkpoints(
    cache_dir, tmp_path
):
    books = tmp_path / "books"
    books.mkdir()
    for number in range(20):
        (books / f"{number}.txt").write_text(f"the boat of {number} sank. " * 40)
    (tmp_path / "held_out.txt").write_text("the")
    (tmp_path / "held_out_too.txt").write_text("the boat")
    changes = {
        "data__corpus": books,
        "data__eval_corpus": tmp_path / "held_out*.txt",
        "data__vocab_size": 300,
        "train__max_steps": 2,
    }
    output = finish(start(tmp_path / "run", cache_dir, **changes))
    assert "eval/perplexity" in output
    assert "the boat" in output
    shutil.rmtree(tmp_path / "run" / "checkpoints")
    process = start(tmp_path / "run", cache_dir, **changes, seed=1)
    output, _ = process.communicate()
    assert process.returncode == 2
    assert "seed: 0 -> 1" in output


@pytest.mark.parametrize("saved", ["metrics.jsonl", "checkpoints/3"])
def test_killed_and_repeated_run_is_bit_equal(saved, unbroken, cache_dir, tmp_path):
    workdir = tmp_path / "run"
    process = start(workdir, cache_dir)
    wait_for(workdir / saved)
    process.kill()
    process.communicate()
    assert not (workdir / "result.json").exists()
    with (workdir / "metrics.jsonl").open("a") as file:
        file.write('{"step": 999, "tor')  # a line torn by the kill
    output = finish(start(workdir, cache_dir))
    if saved != "metrics.jsonl":
        assert f"resuming {workdir} at step" in output
    assert rows_without_clock(workdir) == rows_without_clock(unbroken[0])
    ours, theirs = (gpt1_jax.load(path).params for path in (workdir, unbroken[0]))
    jax.tree.map(np.testing.assert_array_equal, ours, theirs)


def test_interrupted_run_saves_and_goes_on(unbroken, cache_dir, tmp_path):
    workdir = tmp_path / "run"
    process = start(workdir, cache_dir, train__checkpoint_every_steps=0)
    metrics = workdir / "metrics.jsonl"
    wait_for_rows(metrics, 1)
    process.send_signal(signal.SIGINT)
    output, _ = process.communicate()
    assert process.returncode == 75, output
    saved = [int(path.name) for path in (workdir / "checkpoints").iterdir()]
    assert len(saved) == 1
    assert f"stopped at step {saved[0]} and saved" in output
    resumed = finish(start(workdir, cache_dir))
    assert f"resuming {workdir} at step {saved[0]}" in resumed
    assert rows_without_clock(workdir) == rows_without_clock(unbroken[0])
    assert len(texts_in(workdir, "config")) == 1
    ours, theirs = (gpt1_jax.load(path).params for path in (workdir, unbroken[0]))
    jax.tree.map(np.testing.assert_array_equal, ours, theirs)


def test_another_corpus_is_refused_and_nothing_is_lost(cache_dir, tmp_path):
    books, workdir = tmp_path / "books", tmp_path / "run"
    books.mkdir()
    for number in range(20):
        (books / f"{number}.txt").write_text(f"the boat of {number} sank. " * 40)
    changes = {
        "data__corpus": books,
        "data__vocab_size": 300,
        "train__max_steps": 2,
        "optim__schedule": "constant",
    }
    finish(start(workdir, cache_dir, **changes))
    kept = {
        path: path.read_bytes()
        for path in (workdir / "tokenizer/sentencepiece.model", workdir / "config.json")
    }
    (books / "new.txt").write_text("a dog and a cat went home together. " * 40)
    # Finished, it needs no corpus at all.
    assert "is finished" in finish(start(workdir, cache_dir, **changes))
    process = start(workdir, cache_dir, **changes | {"train__max_steps": 4})
    output, _ = process.communicate()
    assert process.returncode == 2
    assert "was saved with another corpus and tokenizer" in output
    assert {path: path.read_bytes() for path in kept} == kept


def test_devices_and_accumulation_change_nothing_but_rounding(
    unbroken, cache_dir, tmp_path
):
    reference = losses(unbroken[0])
    variants = [
        {"devices": 2},
        {"devices": 8, "train__accumulation_steps": 4},
        {"devices": 4, "mesh__fsdp": True},
        {"seed": 1},
    ]
    found = []
    for pair in (variants[:2], variants[2:]):  # two cores
        workdirs = [tmp_path / f"{len(found) + i}" for i in range(len(pair))]
        processes = [
            start(path, cache_dir, **kwargs)
            for path, kwargs in zip(workdirs, pair, strict=True)
        ]
        for process in processes:
            finish(process)
        found += [losses(path) for path in workdirs]
    for variant, values in zip(variants[:-1], found[:-1], strict=True):
        np.testing.assert_allclose(values, reference, rtol=1e-5, err_msg=str(variant))
    assert np.abs(found[-1] / reference - 1).max() > 1e-3


def test_windows_of_documents_are_trained_on(cache_dir, tmp_path):
    corpus = tmp_path / "lines.jsonl"
    lines = [f"The boat {n} went home. " * (1 + n % 7) for n in range(200)]
    corpus.write_text("".join(json.dumps({"text": line}) + "\n" for line in lines))
    changes = {"data__corpus": corpus, "train__max_steps": 2}
    windows = ("contiguous", "document")
    processes = [
        start(tmp_path / name, cache_dir, data__windows=name, **changes)
        for name in windows
    ]
    outputs = [finish(process) for process in processes]
    assert all(" training documents, " in output for output in outputs)
    first = [losses(tmp_path / name)[0] for name in windows]
    assert first[0] != first[1]


def test_a_diverging_run_stops_and_names_the_last_good_checkpoint(cache_dir, tmp_path):
    # The warm-up's first update moves nothing; the second's parameters are finite, but
    # so large that no gradient after it is.
    workdir = tmp_path / "run"
    diverging = {
        "optim__peak_learning_rate": 1e16,
        "train__eval_every_steps": 0,
        "optim__schedule": "constant",
        "train__checkpoint_every_steps": 4,
        "train__max_steps": 30,
    }
    for _ in range(2):  # the same again, from the checkpoint
        process = start(workdir, cache_dir, **diverging)
        output, _ = process.communicate()
        assert process.returncode == 1, output
        assert "error: steps 3 to 12 were skipped, as a loss or a gradient" in output
        assert f"the newest good checkpoint is {workdir}/checkpoints/8" in output
        rows = rows_without_clock(workdir)
        assert [row["step"] for row in rows] == list(range(1, 12))
        assert [row["train/skipped"] for row in rows] == [0, *range(10)]
    assert "resuming" in output
    lines = (workdir / "skipped.jsonl").read_text().splitlines()
    skipped = [json.loads(line) for line in lines]
    assert [row["step"] for row in skipped] == list(range(3, 13))
    assert {row["train/grad_norm"] for row in skipped} <= {"inf", "nan"}
    assert len({tuple(row["window_starts"]) for row in skipped}) == 10
    model = gpt1_jax.load(workdir)
    assert model.step == 8
    for leaf in jax.tree.leaves(model.params):
        assert np.isfinite(leaf).all()


def test_memory_is_checked_with_the_vocabulary_of_the_corpus(
    make_config, tmp_path, monkeypatch
):
    config = make_config(train__batch_size=1)
    given = {"sequences": 1, "length": config.model.context_length}
    checked = config_lib.checked(config)
    parts = memory.training_parts(checked, vocab_size=1, **given)
    limit = jax.local_device_count() * sum(parts.values())
    monkeypatch.setattr(host_memory, "available", lambda: (limit, "the system has"))
    with pytest.raises(ValueError, match=r"this run needs at least .* of memory \(par"):
        pretrain.run(config, tmp_path / "run")
