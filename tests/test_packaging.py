"""The wheel, installed and used outside of the repository."""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.processes import run_module

ROOT = Path(__file__).parents[1]
PACKAGES = ("gpt1_jax", "experiments")

OWN_PRETRAIN = """
from gpt1_jax.errors import UserError
def get_config(words=""):
    raise UserError("the file of this directory; found; good")
"""

# Name -> the command, and a part of its one line on stderr.
COMMANDS = {
    "a field of an experiment of the wheel": (
        ["main", "--config=experiments/pretrain.py", "--config.model.num_heads=5"],
        "config.model.num_heads=5; must divide config.model.width=128",
    ),
    "an experiment that imports another, and its own axes": (
        ["sweep", "--config=experiments/layer_transfer.py:rte"],
        "config.init.path=none; a pre-trained workdir",
    ),
    "no such experiment": (
        ["main", "--config=experiments/pretrian.py"],
        "no experiment file experiments/pretrian.py; a Python file with "
        "get_config(words) is expected, or one of gpt1_jax's own: "
        "experiments/ablations.py, experiments/evaluate.py, ",
    ),
    "a file of the current directory wins": (
        ["main", "--config=experiments/evaluate.py"],
        "the file of this directory; found",
    ),
}


@pytest.fixture(scope="module")
def installed(tmp_path_factory) -> Path:
    """The directory in which pip installed a wheel built from a copy of the source."""
    directory = tmp_path_factory.mktemp("packaging")
    source = directory / "source"
    for name in PACKAGES:
        ignored = shutil.ignore_patterns("__pycache__")
        shutil.copytree(ROOT / name, source / name, ignore=ignored)
    for name in ("setup.cfg", "pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, source)
    pip = [sys.executable, "-m", "pip", "--quiet"]
    subprocess.run(
        [*pip, "wheel", "--no-deps", "--no-build-isolation", "-w", directory, source],
        check=True,
    )
    (wheel,) = directory.glob("*.whl")
    target = directory / "site-packages"
    subprocess.run([*pip, "install", "--no-deps", "-t", target, wheel], check=True)
    return target


@pytest.fixture(scope="module")
def ended(installed, tmp_path_factory) -> dict[str, subprocess.CompletedProcess]:
    """Name -> the command's end, run beside another package named experiments."""
    directory = tmp_path_factory.mktemp("elsewhere")
    (directory / "experiments").mkdir()
    (directory / "experiments/__init__.py").write_text("")
    (directory / "experiments/evaluate.py").write_text(OWN_PRETRAIN)
    env = {"PYTHONPATH": str(installed)}
    return {
        name: run_module(f"gpt1_jax.{command}", flags, directory, env)
        for name, ((command, *flags), _) in COMMANDS.items()
    }


def test_wheel_has_every_file_of_the_packages(installed):
    def files(directory: Path) -> set[Path]:
        found = (p for name in PACKAGES for p in (directory / name).rglob("*"))
        return {
            path.relative_to(directory)
            for path in found
            if path.is_file() and "__pycache__" not in path.parts
        }

    assert files(installed) == files(ROOT)
    assert Path("experiments/study.sh") in files(installed)
    assert not (installed / "tests").exists()


@pytest.mark.parametrize("name", COMMANDS)
def test_installed_command_finds_its_experiment_anywhere(ended, name):
    done = ended[name]
    assert done.returncode == 2, done.stderr
    assert done.stderr.startswith("error: ")
    assert done.stderr.count("\n") == 1
    assert COMMANDS[name][1] in done.stderr


def test_command_prints_which_experiment_runs(ended, installed):
    said = ended["an experiment that imports another, and its own axes"].stdout
    found = installed / "experiments/layer_transfer.py"
    assert said == (
        "experiment: experiments/layer_transfer.py of the installed gpt1_jax, "
        f"{found}\n"
    )
