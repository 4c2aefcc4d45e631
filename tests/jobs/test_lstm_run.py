"""An LSTM from books to a task, where a Transformer stands elsewhere."""

import jax
import numpy as np
import pytest

import gpt1_jax
from gpt1_jax import convert
from gpt1_jax.inference import classifier
from gpt1_jax.jobs import finetune, pretrain
from gpt1_jax.workdirs import model_store
from gpt1_jax.workdirs import workdir as workdir_lib

LSTM = {"model__backbone": "lstm", "model__lstm_width": 24}


@pytest.fixture(scope="module")
def workdir(make_config, tmp_path_factory):
    made = tmp_path_factory.mktemp("lstm") / "run"
    config = make_config(train__max_steps=4, optim__warmup_steps=1, **LSTM)
    pretrain.run(config, made)
    return made


def test_it_learns_scores_and_generates(workdir):
    model = gpt1_jax.load(workdir)
    assert set(model.params) == {"embed", "block_00"}
    (scored,) = model.score(["the boat sank near the pier ."])
    assert np.isfinite(scored["logprobs"]).all()
    greedy, again = (model.generate("the boat", 9, temperature=0.0) for _ in range(2))
    assert greedy == again


@pytest.mark.parametrize("num_layers", [-1, 0, -2])
def test_it_is_transferred_by_layer(workdir, make_tuning_config, tmp_path, num_layers):
    # The first update of a warmed-up schedule moves nothing.
    config = make_tuning_config(
        "rte", workdir, init__num_layers=num_layers, optim__warmup_steps=1
    )
    finetune.run(config, tmp_path / "run")
    trained, tuned = (
        model_store.restore(path).params for path in (workdir, tmp_path / "run")
    )
    alike = {
        name: all(
            np.array_equal(a[: len(b)], b)
            for a, b in zip(
                jax.tree.leaves(tuned[name]),
                jax.tree.leaves(trained[name]),
                strict=True,
            )
        )
        for name in trained
    }
    assert alike == {"embed": num_layers != -2, "block_00": num_layers == -1}
    assert classifier.load(tmp_path / "run").task_model.config.model.backbone == "lstm"


def test_its_pre_training_goes_on(workdir, make_config, tmp_path):
    fields = {"init__path": str(workdir), "train__max_steps": 1}
    result = pretrain.run(make_config(**fields), tmp_path / "run")
    before = workdir_lib.read_result(workdir)
    assert result["metrics"]["first_eval/loss"] == before["metrics"]["eval/loss"]
    assert set(model_store.restore(tmp_path / "run").params) == {"embed", "block_00"}


def test_other_systems_have_no_place_for_it(workdir, run_command, tmp_path):
    with pytest.raises(ValueError, match=r"holds an LSTM; only a Transformer has"):
        run_command(convert, to="huggingface", input=workdir, output=tmp_path / "hf")


def test_it_has_one_layer_to_take_over(workdir, make_tuning_config, tmp_path):
    config = make_tuning_config("rte", workdir, init__num_layers=2)
    with pytest.raises(ValueError, match=r"num_layers=2; the model in .* has 1 layers"):
        finetune.run(config, tmp_path / "run")
