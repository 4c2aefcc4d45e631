"""Settings of the whole suite."""

import atexit
import json
import os
import shutil
import signal
import tempfile
from collections.abc import Callable

# Compilation takes most of the suite's time, so all its processes share one cache. JAX
# reads the variable when it is imported; the workers of pytest-xdist inherit it.
if "JAX_COMPILATION_CACHE_DIR" not in os.environ:
    _compiled = tempfile.mkdtemp(prefix="gpt1_jax-compiled-")
    atexit.register(shutil.rmtree, _compiled, ignore_errors=True)
    os.environ["JAX_COMPILATION_CACHE_DIR"] = _compiled
    os.environ["JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS"] = "0.1"
# Most tests run a few steps of a tiny model: optimising a program takes longer than it
# saves. tests/reliability compares runs bit by bit with the programs that users run;
# `.ci/run` sets the variable to 0 for the notebook and tests/parity.
os.environ.setdefault("JAX_DISABLE_MOST_OPTIMIZATIONS", "1")

import hypothesis
import jax
import numpy as np
import pytest

from tests import command_lines

# A shell makes its background processes ignore SIGINT, which tests send.
signal.signal(signal.SIGINT, signal.default_int_handler)

# Broadcasting between arrays of different ranks hides mistakes.
jax.config.update("jax_numpy_rank_promotion", "raise")

# A busy machine must not fail a test.
hypothesis.settings.register_profile("suite", deadline=None)
hypothesis.settings.load_profile("suite")


@pytest.fixture(scope="session")
def run_command() -> Callable:
    """(command module, flags) -> None: runs the command line in this process."""
    return command_lines.run


@pytest.fixture(scope="session")
def make_params() -> Callable:
    """model -> parameters from N(0, 0.5), large enough to make every effect visible."""

    def make(model, seed: int = 0) -> dict:
        # Imported here because tests of data need no models.
        from gpt1_jax.models.backbone import init_params

        rng = np.random.default_rng(seed)
        shapes = jax.eval_shape(lambda: init_params(model, jax.random.key(0)))
        return jax.tree.map(
            lambda x: (0.5 * rng.standard_normal(x.shape)).astype(x.dtype), shapes
        )

    return make


TINY_MODEL = {
    "data.corpus": "storyworld",
    "data.storyworld_megabytes": 0.1,
    "data.vocab_size": 500,
    "data.holdout_fraction": 0.05,
    # Small, because compilation takes most of the time of such a run.
    "model.num_layers": 1,
    "model.width": 16,
    "model.num_heads": 2,
    "model.mlp_width": 64,
    "model.context_length": 128,
}


@pytest.fixture(scope="session")
def make_config(tmp_path_factory) -> Callable:
    """(group__field=value ...) -> the config of a tiny run on storyworld."""
    cache_dir = str(tmp_path_factory.mktemp("cache"))

    def make(**fields):
        from gpt1_jax import config as config_lib

        config_dict = config_lib.to_config_dict(config_lib.RunConfig())
        config_dict.update_from_flattened_dict(TINY_MODEL)
        config_dict.data.cache_dir = cache_dir
        config_dict.update_from_flattened_dict(
            {name.replace("__", "."): value for name, value in fields.items()}
        )
        return config_lib.from_mapping(config_dict)

    return make


@pytest.fixture(scope="session")
def make_tuning_config(make_config) -> Callable:
    """(task, workdir, fields) -> a config that fine-tunes its model for one step."""

    def make(task: str, workdir, **fields):
        defaults = {
            "job": "finetune",
            "task__name": task,
            "data__task_dir": "storyworld",
            "init__path": str(workdir),
            "train__batch_size": 4,
            "train__max_steps": 1,
            "optim__schedule": "linear",
            "optim__warmup_steps": 0,
        }
        return make_config(**defaults | fields)

    return make


@pytest.fixture
def run_on_text(run_command, tmp_path) -> Callable:
    """(command, workdir, text) -> the rows that the command writes for the text."""

    def run(command, workdir, text: str | bytes) -> list[dict]:
        given, output = tmp_path / "given", tmp_path / "out/rows.jsonl"
        given.write_bytes(text if isinstance(text, bytes) else text.encode())
        run_command(command, checkpoint=workdir, input=given, output=output)
        return [json.loads(line) for line in output.read_text().splitlines()]

    return run


@pytest.fixture(scope="session")
def pretrained_workdir(make_config, tmp_path_factory):
    """The workdir of a short pre-training run with checkpoints at steps 3 and 6."""
    from gpt1_jax.jobs import pretrain

    workdir = tmp_path_factory.mktemp("pretrained") / "run"
    config = make_config(
        train__batch_size=8,
        train__max_steps=6,
        train__checkpoint_every_steps=3,
        train__eval_every_steps=0,
        optim__warmup_steps=2,
    )
    pretrain.run(config, workdir)
    return workdir
