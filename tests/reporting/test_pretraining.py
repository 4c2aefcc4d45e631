import pytest

from gpt1_jax.data.text import tokenizers
from gpt1_jax.reporting import pretraining, runs
from tests.reporting.workdirs import put, row_of

SIZES = {
    "model.num_layers": 2,
    "model.width": 12,
    "model.num_heads": 2,
    "model.mlp_width": 7,
    "model.context_length": 5,
    "train.batch_size": 3,
}


@pytest.fixture
def a_tokenizer(monkeypatch):
    """Whatever workdir is asked has one of 11 entries."""

    class Eleven:
        vocab_size = 11

    monkeypatch.setattr(tokenizers, "load", lambda directory: Eleven())


def table(root, **more):
    found, _, _ = runs.read([root])
    return pretraining.table(found)


def test_the_papers_run_is_beside_ours(tmp_path, a_tokenizer):
    metrics = {"eval/perplexity": 97.849, "eval/unigram_perplexity": 1699.63}
    put(tmp_path, "mine", metrics, fields=SIZES)
    found = table(tmp_path)
    assert row_of(found, "the paper")["perplexity"] == "18.4"
    assert row_of(found, "the paper")["parameters"] == "116.5 M"
    # Embeddings (11 + 5) 12; a layer: 12 36 + 36, 12 12 + 12, 12 7 + 7, 7 12 + 12,
    # 4 12: 192 + 2 (468 + 156 + 91 + 96 + 48).
    assert row_of(found, "mine") == {
        "run": "mine",
        "model": "2 layers, width 12, context 5",
        "parameters": "1.91 k",
        "steps": "300",
        "tokens seen": "4.5 k",
        "unigram perplexity": "1,699.6",
        "perplexity": "97.8",
    }


def test_a_run_that_went_on_from_a_model_names_it(tmp_path, a_tokenizer):
    put(tmp_path, "mine", {}, fields=SIZES | {"init.path": "runs/gpt1"})
    row = row_of(table(tmp_path), "mine")
    assert row["model"] == "2 layers, width 12, context 5, from runs/gpt1"


def test_an_unfinished_run_and_one_without_a_tokenizer_say_so(tmp_path):
    put(tmp_path, "run", fields=SIZES | {"model.backbone": "lstm"})
    row = row_of(table(tmp_path), "run")
    assert row["model"] == "LSTM of 2048 units, context 5"
    assert (row["parameters"], row["steps"]) == ("–", "not finished")
    assert row["perplexity"] == "not finished"


def test_without_runs_the_papers_is_collapsed():
    found = pretraining.table([])
    assert not found.was_run
    assert [row[0] for row in found.missing] == ["the paper"]
