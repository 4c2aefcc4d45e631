"""What processes compare, and how they say that they differ."""

import dataclasses

import jax
import pytest

import gpt1_jax
from gpt1_jax import config as config_lib
from gpt1_jax import errors
from gpt1_jax.config import RunConfig
from gpt1_jax.distributed import agreement, multihost
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

    def __init__(self, first=None):
        self.first, self.told = first, []

    def combine(self, what, value, function):
        return function([value if self.first is None else self.first, value])

    def leave(self):
        pass

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
