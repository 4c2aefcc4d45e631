"""Pre-training that goes on from a trained model (config.init.path)."""

import json
import shutil
from pathlib import Path

import jax
import numpy as np
import pytest

from gpt1_jax import convert
from gpt1_jax.data.text import tokenizers
from gpt1_jax.interop import huggingface, weights
from gpt1_jax.jobs import pretrain
from gpt1_jax.workdirs import model_store, starting_point
from gpt1_jax.workdirs import workdir as workdir_lib
from tests.jobs.runs import rows_without_clock


@pytest.fixture(scope="module")
def make_longer(make_config):
    """(workdir, fields) -> a config that trains its model for 4 more steps."""

    def make(source: Path, **fields):
        defaults = {
            "init__path": str(source),
            # Without effect, like the sizes of make_config: the model's own count.
            "data__vocab_size": 700,
            "model__width": 48,
            "train__batch_size": 8,
            "train__max_steps": 4,
            "train__log_every_steps": 1,
            "train__eval_every_steps": 0,
            "train__checkpoint_every_steps": 2,
            "optim__warmup_steps": 1,
        }
        return make_config(**defaults | fields)

    return make


@pytest.fixture(scope="module")
def source(pretrained_workdir, tmp_path_factory) -> Path:
    """A workdir to start from, which tests may delete."""
    return shutil.copytree(pretrained_workdir, tmp_path_factory.mktemp("from") / "run")


@pytest.fixture(scope="module")
def longer(source, make_longer, tmp_path_factory) -> Path:
    """A finished run from `source`. A killed one has left a row in its workdir."""
    workdir = tmp_path_factory.mktemp("longer") / "run"
    workdir.mkdir()
    (workdir / "metrics.jsonl").write_text('{"step": 0, "eval/loss": 99.0}\n')
    pretrain.run(make_longer(source), workdir)
    return workdir


def assert_equal_params(one: Path, other: Path) -> None:
    trees = (model_store.restore(path).params for path in (one, other))
    jax.tree.map(np.testing.assert_array_equal, *trees)


def test_it_begins_where_the_model_ended(source, longer):
    before = workdir_lib.read_result(source)["metrics"]
    after = workdir_lib.read_result(longer)["metrics"]
    assert after["first_eval/loss"] == before["eval/loss"]
    assert after["first_eval/perplexity"] == before["eval/perplexity"]
    assert after["eval/loss"] < before["eval/loss"] - 1e-3
    first, *rows = rows_without_clock(longer)
    assert first == {
        "step": 0,
        "eval/loss": before["eval/loss"],
        "eval/perplexity": before["eval/perplexity"],
    }
    assert [row["step"] for row in rows] == [1, 2, 3, 4]
    # The schedule begins anew.
    assert rows[0]["train/learning_rate"] == 0.0 < rows[1]["train/learning_rate"]


def test_sizes_and_tokenizer_are_the_models(source, longer):
    models = [workdir_lib.read_config(path).model for path in (source, longer)]
    assert models[0] == models[1]
    prints = {tokenizers.load(x / "tokenizer").fingerprint for x in (source, longer)}
    assert len(prints) == 1
    assert len(model_store.restore(longer).params["embed"]["token"]) == 500


def test_first_and_last_perplexity_are_said_and_an_end_is_not_repeated(
    longer, source, make_longer, capsys
):
    metrics = workdir_lib.read_result(longer)["metrics"]
    again = pretrain.run(make_longer(source), longer)
    said = capsys.readouterr().out
    assert again["metrics"] == metrics
    last, first = metrics["eval/perplexity"], metrics["first_eval/perplexity"]
    assert f"perplexity {last:.2f}; before the first step {first:.2f}; uni" in said


def test_a_resumed_run_is_bit_equal_and_needs_its_model_no_more(
    longer, source, make_longer, tmp_path, capsys
):
    workdir = shutil.copytree(longer, tmp_path / "run")
    (workdir / "result.json").unlink()
    shutil.rmtree(workdir / "checkpoints/4")
    hidden = source.rename(tmp_path / "hidden")
    try:
        pretrain.run(make_longer(source), workdir)
    finally:
        hidden.rename(source)
    assert f"resuming {workdir} at step 2" in " ".join(capsys.readouterr().out.split())
    assert rows_without_clock(workdir) == rows_without_clock(longer)
    assert_equal_params(workdir, longer)


def test_a_run_that_has_saved_nothing_needs_its_model(make_longer, tmp_path):
    with pytest.raises(FileNotFoundError, match=r"no run in .*gone: config.json is"):
        pretrain.run(make_longer(tmp_path / "gone"), tmp_path / "run")


def test_a_model_that_has_changed_is_not_taken_for_that_of_the_run(
    longer, source, pretrained_workdir, make_longer, tmp_path
):
    workdir = shutil.copytree(longer, tmp_path / "run")
    shutil.rmtree(source / "checkpoints/6")
    try:
        with pytest.raises(ValueError, match=r"with another model in config.init.path"):
            pretrain.run(make_longer(source), workdir)
    finally:
        steps = "checkpoints/6"
        shutil.copytree(pretrained_workdir / steps, source / steps)


@pytest.mark.parametrize("num_layers", [0, -2])
def test_it_takes_as_many_layers_as_asked(source, make_longer, tmp_path, num_layers):
    fields = {"init__num_layers": num_layers, "train__max_steps": 1}
    pretrain.run(make_longer(source, **fields), tmp_path / "run")
    # The first update of a warmed-up schedule moves nothing.
    before, after = (
        model_store.restore(path).params for path in (source, tmp_path / "run")
    )
    kernels = [tree["block_00"]["mlp"]["in"]["kernel"] for tree in (before, after)]
    assert not np.array_equal(*kernels)
    tables = [tree["embed"]["token"] for tree in (before, after)]
    assert np.array_equal(*tables) == (num_layers == 0)


def test_a_layer_too_many_is_refused(source, make_longer, tmp_path):
    with pytest.raises(ValueError, match=r"num_layers=2; the model in .* has 1 layers"):
        pretrain.run(make_longer(source, init__num_layers=2), tmp_path / "run")


def test_of_a_fine_tuned_model_the_backbone_is_taken(
    source, make_longer, make_tuning_config, tmp_path, capsys
):
    tuned, workdir = tmp_path / "tuned", tmp_path / "run"
    found = model_store.restore(source)
    table_VD = np.asarray(found.params["embed"]["token"])
    table_VD = np.pad(table_VD, ((0, 3), (0, 0)))
    head = {"kernel": np.ones((16, 2), np.float32), "bias": np.ones(2, np.float32)}
    params = found.params | {
        "embed": found.params["embed"] | {"token": table_VD},
        "head": head,
    }
    config = make_tuning_config("rte", source, model__context_length=128)
    model_store.create(tuned, config, params, found.tokenizer, {})
    # The first update of a warmed-up schedule moves nothing.
    pretrain.run(make_longer(tuned, train__max_steps=1), workdir)
    said = " ".join(capsys.readouterr().out.split())
    assert "dropped 3 token rows after its vocabulary" in said
    assert "fresh: nothing; unused: head" in said
    taken = model_store.restore(workdir).params
    jax.tree.map(np.testing.assert_array_equal, found.params, taken)


def test_prepared_store_must_have_the_models_tokenizer(source, make_longer, tmp_path):
    stores = {}
    for name, tokenizer in (("own", str(source / "tokenizer")), ("other", "")):
        fields = {"data__tokenizer": tokenizer} if tokenizer else {}
        config = make_longer(source, init__path="none", **fields)
        stores[name] = tmp_path / name
        found = starting_point.open_corpus(config, tmp_path / "run")
        shutil.copytree(found.directory, stores[name])

    def opened(name: str):
        config = make_longer(source, data__corpus=str(stores[name]))
        return starting_point.open_corpus(config, tmp_path / "run")

    assert opened("own").meta["vocab_size"] == 500
    with pytest.raises(ValueError, match=r"a prepared store of another tokenizer; .*"):
        opened("other")


def test_converted_weights_go_on_and_out_with_their_config(
    source, make_longer, run_command, tmp_path
):
    model = workdir_lib.read_config(source).model
    rng = np.random.default_rng(0)
    shapes = weights.expected_shapes(model, 500)
    params = {
        path: 0.1 * rng.standard_normal(shape, dtype=np.float32) + path.endswith("ale")
        for path, shape in shapes.items()
    }
    given, start, run, out = (tmp_path / name for name in ("hf", "start", "run", "out"))
    huggingface.write(weights.Weights(params, model), given)
    tokenizers.load(source / "tokenizer").save(given)
    run_command(convert, input=given, output=start, **{"from": "huggingface"})
    pretrain.run(make_longer(start, optim__warmup_steps=0), run)
    run_command(convert, input=run, output=out, to="huggingface")
    configs = [json.loads((x / "config.json").read_text()) for x in (given, out)]
    # Only our tokenizer says which token is a line break.
    named = {configs[1].pop(name) for name in ("bos_token_id", "pad_token_id")}
    assert named == {tokenizers.load(source / "tokenizer").newline_id}
    assert configs[0] == configs[1]
    trained = huggingface.read(out).params
    assert all(np.abs(trained[name] - params[name]).max() > 0 for name in params)
