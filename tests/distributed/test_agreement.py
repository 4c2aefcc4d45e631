"""What processes compare, and how they say that they differ."""

import dataclasses

import jax
import pytest

import gpt1_jax
from gpt1_jax import config as config_lib
from gpt1_jax import errors, sweep
from gpt1_jax.cli import grid
from gpt1_jax.config import RunConfig
from gpt1_jax.distributed import agreement, multihost, rendezvous, runtime
from gpt1_jax.errors import Preempted, RunFailed, UserError


def test_every_field_counts_but_those_of_the_host():
    facts = agreement.facts(RunConfig())
    absent = {path for path in config_lib.FIELDS if f"config.{path}" not in facts}
    assert absent == {"mesh.process_id", "mesh.coordinator_address", "data.cache_dir"}


def test_a_difference_names_field_values_and_processes():
    configs = [RunConfig(seed=n) for n in (0, 7, 0)]
    message = agreement.difference([agreement.facts(config) for config in configs])
    assert message == (
        "the processes differ: config.seed=0 on process 0 and 2, 7 on process 1; all "
        "processes of a run need the same; correct it and start all of them again"
    )
    assert agreement.difference([agreement.facts(configs[0])] * 3) == ""


def test_a_hash_is_shortened_and_a_missing_fact_is_absent():
    message = agreement.difference([{"corpus": "ab" * 32}, {}])
    assert "corpus=abababababab on process 0, absent on process 1" in message


def test_many_differences_are_counted():
    message = agreement.difference([{f"f{n}": m for n in range(9)} for m in (1, 2)])
    assert "f3=1 on process 0, 2 on process 1; 5 more; all" in message


def test_another_line_of_code_is_another_fingerprint(tmp_path, monkeypatch):
    found = []
    for line in ("x = 1\n", "x = 2\n", "x = 1\n"):
        (tmp_path / "module.py").write_text(line)
        monkeypatch.setattr(gpt1_jax, "__file__", str(tmp_path / "__init__.py"))
        agreement.code_fingerprint.cache_clear()
        found.append(agreement.code_fingerprint())
    agreement.code_fingerprint.cache_clear()
    assert found[0] == found[2] != found[1]


class Fake:
    """The second process of two; the first gives `first` to every call."""

    place = rendezvous.Place("localhost:1", 2, 1)

    def __init__(self, first=None):
        self.first, self.told, self.has_left = first, [], False

    def combine(self, what, value, function):
        return function([value if self.first is None else self.first, value])

    def leave(self):
        self.has_left = True

    def fail(self, message, code):
        self.told.append((message, code))


@pytest.fixture
def connect(monkeypatch):
    def connect(fake):
        monkeypatch.setattr(multihost._connected, "others", fake)
        monkeypatch.setattr(multihost._connected, "exit_code", 0)
        monkeypatch.setattr(multihost, "_NEWS_SECONDS", 0)
        monkeypatch.setattr(multihost, "_SHARED_SECONDS", 0.2)
        return fake

    return connect


def test_other_facts_are_a_mistake(connect):
    connect(Fake({"corpus": "a"}))
    with pytest.raises(UserError, match="corpus=a on process 0, b on process 1"):
        multihost.agree("the data", {"corpus": "b"})


def test_a_workdir_that_is_not_shared_is_a_mistake(connect, monkeypatch, tmp_path):
    fake = connect(Fake())
    multihost._check_shared(fake, tmp_path / "shared")  # as the first process
    assert not list((tmp_path / "shared").iterdir())
    monkeypatch.setattr(multihost, "is_first", lambda: False)
    message = (
        r"--workdir .*own on process 0 is not the directory .* does not appear; one"
    )
    with pytest.raises(UserError, match=message):
        multihost._check_shared(fake, tmp_path / "own")


def test_a_workdir_that_is_a_file_is_a_mistake(connect, tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(
        UserError, match=r"file cannot be made, as .* is a file; .*name"
    ):
        multihost._check_shared(connect(Fake()), tmp_path / "file")


def test_configs_are_compared_before_the_devices_connect(connect, monkeypatch):
    connected = []
    monkeypatch.setattr(multihost, "_connect_devices", lambda *_: connected.append(1))
    connect(Fake())
    multihost.join(RunConfig())
    assert connected
    connect(Fake(agreement.facts(RunConfig(seed=7))))
    with pytest.raises(UserError, match=r"config\.seed=7 on process 0, 0 on process 1"):
        multihost.join(RunConfig())
    assert len(connected) == 1


def test_processes_that_the_caller_has_connected_are_refused(connect, monkeypatch):
    connect(None)
    monkeypatch.setattr(jax.distributed, "is_initialized", lambda: True)
    multihost.join(RunConfig())  # a run of one process is no run of several
    monkeypatch.setattr(jax, "process_count", lambda: 2)
    message = "already connected by jax.distributed.initialize; .* remove that call"
    with pytest.raises(UserError, match=message):
        multihost.join(RunConfig())


def test_a_process_tells_the_others_that_it_has_reached_its_end(connect):
    fake = connect(Fake())
    multihost.wait_for_all("a run of a sweep")
    multihost._leave()
    assert fake.has_left


@pytest.mark.parametrize(
    ("error", "code"),
    [(KeyboardInterrupt, errors.PREEMPTED), (RunFailed, errors.FAILED)],
    ids=["interrupt", "failure"],
)
def test_what_ends_a_sweep_is_told_once(connect, monkeypatch, tmp_path, error, code):
    """An interrupt between the runs, and a failure of a run that has told it itself."""
    fake = connect(Fake())

    def run_cell(*_, **__):
        if error is RunFailed:
            multihost.ends_together(fail)()
        fail()

    def fail():
        raise error

    monkeypatch.setattr(runtime, "prepare", lambda config: None)
    monkeypatch.setattr(sweep, "_run_cell", run_cell)
    (cell,) = grid.cells(grid.parse_axes(["seed=0"]))
    with pytest.raises(error):
        sweep._run_cells(tmp_path, RunConfig(), [(cell, RunConfig())])
    assert [told_code for _, told_code in fake.told] == [code]


@pytest.mark.parametrize(
    ("error", "message", "code"),
    [
        (UserError("no corpus"), "no corpus", errors.MISTAKE),
        (RunFailed("loss is nan"), "loss is nan", errors.FAILED),
        (OSError(28, "full"), "[Errno 28] full", errors.FAILED),
        (KeyError("x\ny"), "KeyError: 'x\\ny'", errors.FAILED),
        (jax.errors.JaxRuntimeError("a\nb"), "JaxRuntimeError: a", errors.FAILED),
        (MemoryError(), "MemoryError", errors.FAILED),
        (AssertionError(), "AssertionError", errors.FAILED),
        (KeyboardInterrupt(), "interrupted; the same command", errors.PREEMPTED),
    ],
    ids=lambda value: type(value).__name__,
)
def test_others_are_told_of_an_error(connect, error, message, code):
    fake = connect(Fake())

    @multihost.ends_together
    def job():
        raise error

    with pytest.raises(type(error)):
        job()
    ((told, told_code),) = fake.told
    assert told.startswith(message)
    assert told_code == multihost._connected.exit_code == code


def test_others_are_not_told_of_a_stop_that_all_have_agreed_on(connect):
    fake = connect(Fake())

    @multihost.ends_together
    def job():
        raise Preempted("stopped")

    with pytest.raises(Preempted):
        job()
    assert not fake.told


def test_resolved_fields_are_compared():
    wide = dataclasses.replace(RunConfig().model, width=7)
    facts = [agreement.facts(RunConfig()), agreement.facts(RunConfig(model=wide))]
    assert "config.model.width=768 on process 0, 7 on" in agreement.difference(facts)
