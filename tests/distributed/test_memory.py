"""The memory that a model needs, and the memory that there is."""

import dataclasses
import resource

import jax
import numpy as np
import pytest

from gpt1_jax.config import MeshConfig, ModelConfig, RunConfig
from gpt1_jax.distributed import host_memory, memory
from gpt1_jax.models import backbone
from gpt1_jax.training import optim
from gpt1_jax.training import step as step_lib
from tests.configs import TINY_MODEL, changed

V = 101


def state_bytes(model: ModelConfig, name: str) -> int:
    tx = optim.make_optimizer(changed({"optim.name": name}).optim, 10)
    fresh = backbone.make(model, V)
    init = step_lib.make_init(lambda key: backbone.init_params(fresh, key), tx)
    leaves = jax.tree.leaves(jax.eval_shape(init))
    return sum(x.size * x.dtype.itemsize for x in leaves if x.shape)


@pytest.mark.parametrize("kind", ["transformer", "lstm"])
@pytest.mark.parametrize("name", ["openai_adam", "adamw"])
def test_the_need_of_parameters_and_optimizer_is_exact(kind, name):
    model = dataclasses.replace(TINY_MODEL, backbone=kind, lstm_width=13, num_layers=2)
    config = RunConfig(model=model)
    parts = memory.training_parts(config, vocab_size=V, sequences=1, length=1)
    assert parts["parameters and optimizer state"] == state_bytes(model, name)


def test_activations_grow_with_the_batch_and_are_saved_by_remat_and_accumulation():
    config = RunConfig(model=TINY_MODEL)

    def activations(**changes) -> int:
        given = changed({k.replace("__", "."): v for k, v in changes.items()}, config)
        found = memory.training_parts(given, vocab_size=V, sequences=256, length=11)
        return found["activations"]

    per_token = 4 * (6 * 15 + 17)
    assert activations() == 256 * 11 * per_token
    assert activations(train__accumulation_steps=4) == 64 * 11 * per_token
    assert activations(train__remat=True) == 256 * 11 * 4 * 15


def test_paper_sizes_that_fit_are_not_refused_and_others_name_need_and_limit(
    monkeypatch,
):
    config = RunConfig()
    given = {"vocab_size": 40478, "sequences": 64, "length": 512}
    monkeypatch.setattr(host_memory, "available", lambda: (64 << 30, "the system has"))
    memory.check_training(config, **given)
    monkeypatch.setattr(host_memory, "available", lambda: (8 << 30, "the system has"))
    message = (
        r"this run needs at least 13.48 GB of memory \(parameters and optimizer state "
        r"1.40, activations 12.08\); the system has 8.59 GB for it; lower "
        r"config.train.batch_size, .*accumulation_steps, or choose a smaller"
    )
    with pytest.raises(ValueError, match=message):
        memory.check_training(config, **given)
    small = changed({"train.accumulation_steps": 16}, config)
    memory.check_training(small, **given)


def test_parameters_that_do_not_fit_are_not_blamed_on_the_batch(monkeypatch):
    monkeypatch.setattr(host_memory, "available", lambda: (1 << 30, "the system has"))
    with pytest.raises(ValueError, match=r"gradients .*fsdp=True") as error:
        memory.check_training(RunConfig(), vocab_size=40478, sequences=1, length=2)
    assert "batch_size" not in str(error.value)


def test_fsdp_shards_parameters_over_the_devices(monkeypatch):
    config = RunConfig(model=TINY_MODEL, mesh=MeshConfig(fsdp=True))
    given = {"vocab_size": V, "sequences": 8, "length": 1}
    whole = memory.training_parts(config, **given)
    monkeypatch.setattr(jax, "device_count", lambda: 2)
    half = memory.training_parts(config, **given)
    name = "parameters and optimizer state"
    assert 2 * half[name] == pytest.approx(whole[name], abs=2)


@pytest.fixture
def system(tmp_path, monkeypatch):
    """Returns a root with /proc and /sys/fs/cgroup of a machine with 8 GiB free."""
    files = {
        "proc/meminfo": "MemAvailable: 8388608 kB\nSwapFree: 0 kB\n",
        "proc/self/status": "VmSize: 300 kB\nRssAnon: 100 kB\n",
        "proc/self/cgroup": "0::/job/step\n",
    }
    for name, text in files.items():
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    monkeypatch.setattr(host_memory, "_PROC", tmp_path / "proc")
    monkeypatch.setattr(host_memory, "_CGROUPS", tmp_path / "cgroup")
    unlimited = (resource.RLIM_INFINITY, resource.RLIM_INFINITY)
    monkeypatch.setattr(resource, "getrlimit", lambda _: unlimited)
    return tmp_path


def write_group(directory, **files: str) -> None:
    directory.mkdir(parents=True)
    for name, text in files.items():
        (directory / f"memory.{name}").write_text(text)


def test_memory_is_what_the_system_has_free_and_the_process_has(system):
    assert host_memory.available() == ((8388608 + 100) << 10, "the system has")


def test_the_limit_of_a_container_counts_also_above_the_own_group(system):
    stat = "anon 1000\nfile 500000\n"
    write_group(system / "cgroup/job", max="2000000\n", stat=stat)
    write_group(system / "cgroup/job/step", max="max\n", stat=stat)
    limit, has = host_memory.available()
    assert limit == 2000000 - 1000 + (100 << 10)
    assert has == "the limit of its container leaves"


@pytest.mark.parametrize(
    ("swap", "free"),
    [
        ({}, 0),
        ({"swap.max": "max\n", "swap.current": "10\n"}, 4096 << 10),
        ({"swap.max": "700\n", "swap.current": "300\n"}, 400),
        ({"swap.max": "0\n", "swap.current": "0\n"}, 0),
    ],
    ids=["none", "unlimited", "limited", "forbidden"],
)
def test_the_swap_of_a_container_counts(system, swap, free):
    meminfo = "MemAvailable: 8388608 kB\nSwapFree: 4096 kB\n"
    (system / "proc/meminfo").write_text(meminfo)
    group = {"max": "2000000\n", "stat": "anon 1000\n"}
    write_group(system / "cgroup/job", **group | swap)
    assert host_memory.available()[0] == 2000000 - 1000 + free + (100 << 10)


def test_the_limit_of_an_old_container_counts(system):
    (system / "proc/self/cgroup").write_text("4:memory:/elsewhere\n0::/\n")
    stat = "rss 7\ntotal_rss 1000\n"
    write_group(system / "cgroup/memory", limit_in_bytes="3000000\n", stat=stat)
    assert host_memory.available()[0] == 3000000 - 1000 + (100 << 10)


def test_ulimit_counts(system, monkeypatch):
    monkeypatch.setattr(resource, "getrlimit", lambda _: (1 << 20, 1 << 20))
    expected = (1 << 20) - (300 << 10) + (100 << 10)
    assert host_memory.available() == (expected, "ulimit -v leaves")


def test_a_program_that_xla_cannot_place_is_refused_before_it_runs(monkeypatch):
    compiled = jax.jit(lambda x: x @ x).lower(np.ones((64, 64), np.float32)).compile()
    memory.check_program(compiled)
    monkeypatch.setattr(host_memory, "available", lambda: (1000, "the system has"))
    with pytest.raises(ValueError, match=r"a training step needs at least 0.00 GB"):
        memory.check_program(compiled)


def test_a_donated_state_is_counted_once(monkeypatch):
    state = np.ones(1 << 18, np.float32)  # 1 MiB
    limit = (3 << 19, "the system has")
    monkeypatch.setattr(host_memory, "available", lambda: limit)

    def add(x):
        return x + 1

    memory.check_program(jax.jit(add, donate_argnums=0).lower(state).compile())
    with pytest.raises(ValueError, match=r"a training step needs"):
        memory.check_program(jax.jit(add).lower(state).compile())


def test_a_model_too_large_to_load_is_refused(monkeypatch):
    shapes = {"w": jax.ShapeDtypeStruct((1 << 20, 1 << 12), np.float32)}
    monkeypatch.setattr(host_memory, "available", lambda: (1 << 30, "the system has"))
    message = r"runs/x: the model needs at least 17.18 GB .*parameters 17.18.*smaller"
    with pytest.raises(ValueError, match=message):
        memory.check_params(shapes, "runs/x: the model")
