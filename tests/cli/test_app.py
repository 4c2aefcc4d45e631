"""Commands run as users run them: exit codes, one-line errors, --help."""

import concurrent.futures
import errno
import importlib
import multiprocessing
import os
from pathlib import Path
from typing import NamedTuple

import jax
import pytest
from absl import flags

from gpt1_jax import __main__ as gpt1
from gpt1_jax import errors
from gpt1_jax.cli import app, experiment
from gpt1_jax.data.text import corpus, tokenizers
from gpt1_jax.distributed import runtime
from tests.processes import Command, run_module

ROOT = Path(__file__).parents[2]
FINETUNE = ["main", "--config", f"{ROOT}/experiments/finetune.py:rte"]
PRETRAIN = ["main", "--config", str(ROOT / "experiments/pretrain.py")]

EXPERIMENTS = {
    "misspelt": """
from gpt1_jax.config import RunConfig, to_config_dict
def get_config(words=""):
    config = to_config_dict(RunConfig())
    config.model.widht = 3
    return config
""",
    "no_function": "x = 1\n",
    "no_return": "def get_config(words=''):\n    pass\n",
    "bad_import": "import no_such_module\ndef get_config(words=''):\n    pass\n",
    "bad_name": "def get_config(words=''):\n    return no_such_name\n",
    "user_error": """
from gpt1_jax.errors import UserError
def get_config(words=""):
    raise UserError(f"word {words}; none is allowed; drop it")
""",
    "bad_value": "def get_config(words=''):\n    return int('no_such_number')\n",
    "bad_key": "def get_config(words=''):\n    return {}['no_such_key']\n",
    "bad_attribute": "def get_config(words=''):\n    return words.no_such_attribute\n",
}

# Name -> the command, and a part of its one line on stderr.
MISTAKES = {
    "fine-tuning on no data": (
        [*FINETUNE, "--config.data.task_dir=no_such_directory"],
        "config.data.task_dir='no_such_directory' is not a directory",
    ),
    "misspelt field": (
        [*PRETRAIN, "--config.model.widht=24"],
        "unknown config field model.widht; did you mean model.width?",
    ),
    "float for an int": (
        [*PRETRAIN, "--config.model.width=12.0"],
        "config.model.width='12.0'; an integer is expected; write 1000",
    ),
    "no --config": (["main"], "--config is missing"),
    "no experiment": (["main", "--config", "no.py"], "no experiment file no.py"),
    "no experiment, but a field": (
        ["main", "--config=no.py:paper", "--config.model.width=24"],
        "no experiment file no.py; a Python file with get_config(words) is expected",
    ),
    "misspelt in the experiment": (
        ["main", "--config=misspelt.py"],
        "misspelt.py, line 5: config.model.widht = 3; Did you mean",
    ),
    "no get_config": (
        ["main", "--config=no_function.py"],
        "the experiment file has no get_config",
    ),
    "get_config returns nothing": (
        ["main", "--config=no_return.py"],
        "config=None; must be a group of fields",
    ),
    "unknown word": (
        # Finds the package's own experiment: this directory has none.
        ["main", "--config=experiments/pretrain.py:papr"],
        "unknown word 'papr' after the experiment file; known words: small, paper",
    ),
    "experiment's own error": (
        ["main", "--config=user_error.py:tiny"],
        "error: word tiny; none is allowed; drop it",
    ),
    "unknown flag": (
        [*PRETRAIN, "--wrkdir=x"],
        "unknown flag --wrkdir; did you mean --workdir?",
    ),
    "field for a flag": (
        [*PRETRAIN, "--batch_size=3"],
        "unknown flag --batch_size; did you mean --config.train.batch_size?",
    ),
    "stray argument": ([*PRETRAIN, "stray"], "unexpected argument 'stray'"),
    "no corpus": (
        ["main", "--config", f"{ROOT}/experiments/pretrain.py:paper"],
        "config.data.corpus is empty",
    ),
    "glob without files": (
        [*PRETRAIN, "--config.data.corpus=nowhere/*.txt"],
        "no file matches 'nowhere/*.txt'",
    ),
    "book in another encoding": (
        [*PRETRAIN, "--config.data.corpus=books/*.txt"],
        "books/latin1.txt: byte 3 (0xe9) is not UTF-8",
    ),
    "prepare without --output": (
        ["prepare", "--corpus=books/*.txt"],
        "--output",
    ),
    "prepare below a flag's bound": (
        ["prepare", "--corpus=books/*.txt", "--output=store", "--vocab_size=299"],
        "--vocab_size=299",
    ),
    "prepare with a book in another encoding": (
        ["prepare", "--corpus=books/*.txt", "--output=store"],
        "books/latin1.txt: byte 3",
    ),
    "prepare into a file": (
        ["prepare", "--corpus=good/*.txt", "--output=bad_name.py"],
        "bad_name.py exists and is not a token store",
    ),
    "generate from nothing": (
        ["generate", "--checkpoint=nowhere", "--prompt=once"],
        "nowhere",
    ),
    "submit no workdir": (["submit", "--output=a.zip"], "no WORKDIR; at least one"),
    "cache below a file": (
        [*PRETRAIN, "--config.data.cache_dir=misspelt.py/cache"],
        "misspelt.py/cache",
    ),
    "output below a file": (
        ["prepare", "--corpus=good/*.txt", "--output=misspelt.py/store"],
        "misspelt.py",
    ),
}

# Bugs in an experiment's code -> parts of the traceback.
BUGS = {
    "bad_import": ("bad_import.py", "No module named 'no_such_module'"),
    "bad_name": ("bad_name.py", "name 'no_such_name' is not defined"),
    "bad_value": ("bad_value.py", "no_such_number"),
    "bad_key": ("bad_key.py", "no_such_key"),
    "bad_attribute": ("bad_attribute.py", "no_such_attribute"),
}

HELPS = ("main", "prepare")


class Ended(NamedTuple):
    """The output of a command, and its exit code."""

    stdout: str
    stderr: str
    returncode: int | None


@pytest.fixture(scope="module")
def directory(tmp_path_factory) -> Path:
    """The directory in which the commands run, with experiments and books."""
    directory = tmp_path_factory.mktemp("commands")
    for name, source in EXPERIMENTS.items():
        (directory / f"{name}.py").write_text(source)
    for name, text in (("good/a", b"a b"), ("good/b", b"c d"), ("books/ok", b"a b")):
        (directory / name).parent.mkdir(exist_ok=True)
        (directory / f"{name}.txt").write_bytes(text)
    (directory / "books/latin1.txt").write_bytes("café".encode("latin-1"))
    return directory


@pytest.fixture(scope="module")
def ended(directory) -> dict[str, Ended]:
    """Name -> the output and exit code of each command above."""
    commands = {name: args for name, (args, _) in MISTAKES.items()}
    commands |= {name: ["main", f"--config={name}.py"] for name in BUGS}
    commands |= {f"{name} --help": [name, "--help"] for name in HELPS}
    found = {}
    for name, args in commands.items():
        process = Command(args, directory)
        found[name] = Ended(*process.communicate(), process.returncode)
    return found


def assert_one_line(stderr: str, expected: str) -> None:
    assert stderr.startswith("error: ")
    assert stderr.count("\n") == 1
    assert stderr.endswith("\n")
    assert expected in stderr


@pytest.mark.parametrize("name", MISTAKES)
def test_mistake_exits_2_in_one_line(ended, name):
    assert_one_line(ended[name].stderr, MISTAKES[name][1])
    assert ended[name].returncode == 2


def test_mistakes_leave_nothing_behind(ended, directory):
    found = {path.name for path in directory.iterdir()}
    assert found - {"__pycache__"} == {
        "good",
        "books",
        *(f"{name}.py" for name in EXPERIMENTS),
    }


@pytest.mark.parametrize("name", BUGS)
def test_bug_in_an_experiment_shows_where_it_is(ended, name):
    assert ended[name].returncode == 1
    for expected in ("Traceback", *BUGS[name]):
        assert expected in ended[name].stderr


@pytest.mark.parametrize("name", HELPS)
def test_help_is_printed_and_nothing_else(ended, name):
    help_ = ended[f"{name} --help"]
    assert (help_.returncode, help_.stderr) == (0, "")
    assert help_.stdout == help_of(name) + "\n"


def test_importing_a_command_prints_nothing():
    done = run_module("gpt1_jax.prepare", ["--help"])
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout == help_of("prepare") + "\n"


def help_of(name: str) -> str:
    module = importlib.import_module(f"gpt1_jax.{name}")
    return app._help(module, module._FLAGS)


@pytest.mark.parametrize("name", gpt1.COMMANDS)
def test_help_fits_a_screen_and_shows_flags_and_an_example(name):
    lines = help_of(name).splitlines()
    assert len(lines) <= 24
    # A missing backslash would join two lines of an example.
    assert max(map(len, lines)) <= 88
    assert any(line.startswith(f"    python -m gpt1_jax.{name} ") for line in lines)
    for flag in importlib.import_module(f"gpt1_jax.{name}")._FLAGS:
        assert any(line.startswith(f"  --{flag}: ") for line in lines)


def test_help_of_a_repeatable_flag_is_one_line():
    (line,) = [x for x in help_of("sweep").splitlines() if x.startswith("  --axis")]
    assert line.endswith("the experiment's own axes. May be repeated.")


def test_help_shows_defaults_that_are_not_empty(ended):
    lines = ended["prepare --help"].stdout.splitlines()
    meaning = "entries of a tokenizer to train, without special tokens"
    assert f"  --vocab_size: {meaning} (default: 40478)" in lines
    assert "  --output: Directory to write. (required)" in lines


def test_user_error_is_the_users_mistake(capsys):
    assert app._run(lambda: corpus.windows_per_epoch(1, 4)) == errors.MISTAKE
    assert_one_line(capsys.readouterr().err, "1 training tokens; at least 8 are needed")


def test_unforeseen_error_keeps_its_traceback():
    # numpy raises this error in a line of this package.
    def main():
        corpus.window_starts(100, context_length=4, batch_size=-1, seed=0, step=0)

    with pytest.raises(ValueError, match="negative"):
        app._run(main)


def test_error_of_another_library_keeps_its_traceback():
    with pytest.raises(ValueError, match="invalid literal"):
        app._run(lambda: int("x"))


def test_file_that_vanishes_is_a_failure(tmp_path, capsys):
    assert app._run((tmp_path / "gone").read_text) == errors.FAILED
    assert_one_line(capsys.readouterr().err, "gone'; free space or check the path")


def test_environment_variable_keeps_the_traceback(monkeypatch):
    monkeypatch.setenv("GPT1_JAX_TRACEBACK", "1")
    with pytest.raises(ValueError, match="1 training tokens"):
        app._run(lambda: corpus.windows_per_epoch(1, 4))


def test_user_error_in_a_worker_process_is_a_mistake_too(tmp_path, capsys):
    context = multiprocessing.get_context("spawn")
    with concurrent.futures.ProcessPoolExecutor(1, context) as pool:
        mistake = pool.submit(tokenizers.load, tmp_path / "nowhere")
        assert app._run(mistake.result) == errors.MISTAKE
    assert_one_line(capsys.readouterr().err, "no tokenizer in")


def test_positional_arguments_reach_main_from_any_place(monkeypatch):
    flag_values, received = flags.FlagValues(), []
    flags.DEFINE_string("name", "", "A name.", flag_values=flag_values)
    argv = ["x", "runs/a", "--name=b", "runs/c", "--", "--d"]
    monkeypatch.setattr("sys.argv", argv)
    with pytest.raises(SystemExit) as ended:
        app.run(received.extend, flag_values, positionals="DIR")
    assert (ended.value.code, flag_values.name) == (errors.DONE, "b")
    assert received == ["runs/a", "runs/c", "--d"]


def test_missing_positional_arguments_are_a_mistake(monkeypatch, capsys):
    monkeypatch.setattr("sys.argv", ["x"])
    with pytest.raises(SystemExit) as ended:
        app.run(pytest.fail, flags.FlagValues(), positionals="DIR")
    assert ended.value.code == errors.MISTAKE
    assert_one_line(capsys.readouterr().err, "no DIR; at least one is needed; --help")


@pytest.mark.parametrize(
    ("error", "code"),
    [(errors.Preempted("saved"), 75), (errors.RunFailed("loss is nan"), 1)],
)
def test_preempted_and_failed_runs_have_their_exit_codes(error, code):
    def main():
        raise error

    assert app._run(main) == code


def test_full_device_memory_is_reported_in_one_line(capsys):
    def main():
        raise jax.errors.JaxRuntimeError(
            "RESOURCE_EXHAUSTED: Out of memory while trying to allocate 36.69GiB\nmore"
        )

    assert app._run(main) == errors.FAILED
    line = capsys.readouterr().err
    assert_one_line(line, "the device's memory is full: RESOURCE_EXHAUSTED: Out of mem")
    assert "36.69GiB; see what else runs there" in line


@pytest.mark.parametrize(
    "said", ["INTERNAL: no memory", "RESOURCE_EXHAUSTED: No space left on device"]
)
def test_other_errors_of_a_device_keep_their_traceback(said):
    def main():
        raise jax.errors.JaxRuntimeError(said)

    with pytest.raises(jax.errors.JaxRuntimeError):
        app._run(main)


@pytest.mark.parametrize(
    ("file", "words", "workdir"),
    [
        ("experiments/pretrain.py", "", "runs/pretrain"),
        ("/elsewhere/pretrain.py", "paper", "runs/pretrain-paper"),
        ("finetune.py", "rte, paper,", "runs/finetune-rte-paper"),
    ],
)
def test_default_workdir_names_the_experiment_and_its_words(file, words, workdir):
    flag_values = experiment.ExperimentFlags()
    flag_values(["main", f"--config={file}:{words}" if words else f"--config={file}"])
    assert experiment.default_workdir(flag_values) == workdir


def test_a_platform_that_is_not_there_is_a_mistake(monkeypatch, capsys):
    def devices():
        raise RuntimeError("Unable to initialize backend 'cuda': not in the list")

    monkeypatch.setattr(runtime.jax, "devices", devices)
    for platforms, given in (("cuda", "JAX_PLATFORMS=cuda"), ("", "the devices")):
        monkeypatch.setenv("JAX_PLATFORMS", platforms)
        assert app._run(runtime.prepare) == errors.MISTAKE
        line = capsys.readouterr().err
        assert_one_line(line, f"{given}: Unable to initialize backend 'cuda': n")
        assert "unset JAX_PLATFORMS" in line


def test_an_assertion_of_jax_about_its_platforms_is_a_mistake_too(monkeypatch, capsys):
    def devices():
        raise AssertionError

    monkeypatch.setenv("JAX_PLATFORMS", "cuda")
    monkeypatch.setattr(runtime.jax, "devices", devices)
    assert app._run(runtime.prepare) == errors.MISTAKE
    line = "JAX_PLATFORMS=cuda: JAX has started no device; a platform that this machine"
    assert_one_line(capsys.readouterr().err, line)


@pytest.mark.parametrize(
    ("number", "remedy"),
    [
        (errno.ENOSPC, "free space, then"),
        (errno.EROFS, "get the right to write there, or name another path, then"),
        (errno.EMFILE, "raise `ulimit -n`, then"),
    ],
)
def test_a_system_error_has_its_own_remedy(number, remedy, capsys):
    def main():
        raise OSError(number, os.strerror(number), "some/file")

    assert app._run(main) == errors.FAILED
    assert_one_line(capsys.readouterr().err, f"'some/file'; {remedy} run again")


def test_a_librarys_warning_is_one_line(capsys):
    app._show_warning(UserWarning("the cache\ncannot be written"), UserWarning, "x", 3)
    assert capsys.readouterr().out == "warning: the cache cannot be written\n"
