"""Security: no input runs code, and no input makes a file elsewhere be read."""

import ast
import inspect
import json
from pathlib import Path

import numpy as np
import pytest
import safetensors.numpy

import gpt1_jax
from gpt1_jax.data.text import tokenizers
from gpt1_jax.interop import huggingface, openai

PACKAGE = Path(gpt1_jax.__file__).parent
MODULES = sorted(PACKAGE.rglob("*.py"))
FORBIDDEN_MODULES = {
    *("pickle", "cPickle", "_pickle", "dill", "cloudpickle", "joblib", "shelve"),
    *("marshal", "torch", "zipimport", "imp", "code", "runpy", "yaml"),
}
FORBIDDEN_CALLS = {"eval", "exec", "compile", "__import__"}
# Modules are imported by name where the name is checked against a list first: a job by
# the config, a command by gpt1_jax.__main__.
IMPORTERS = {
    "main.py": ["importlib.import_module"],
    "sweep.py": ["importlib.import_module"],
    "__main__.py": ["runpy"],
}


def imported(tree: ast.AST) -> set[str]:
    names = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names |= {alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            names.add((node.module or "").split(".")[0])
    return names


def calls(tree: ast.AST) -> list[tuple[str, ast.Call]]:
    """Returns all calls with their dotted names."""
    found = [node for node in ast.walk(tree) if isinstance(node, ast.Call)]
    return [(ast.unparse(node.func), node) for node in found]


def offences(source: str) -> list[str]:
    """Returns the forbidden calls of a module."""
    tree = ast.parse(source)
    found = sorted(imported(tree) & FORBIDDEN_MODULES)
    for name, call in calls(tree):
        last = name.rpartition(".")[2]
        keywords = {k.arg: ast.unparse(k.value) for k in call.keywords}
        if name in FORBIDDEN_CALLS:
            found.append(name)
        is_load = name in ("np.load", "numpy.load", "jnp.load")
        if is_load and keywords.get("allow_pickle") != "False":
            found.append(f"{name} with pickle")
        if last in ("extract", "extractall", "unpack_archive"):
            found.append(f"{name} trusts names")
        if keywords.get("shell") == "True" or name in ("os.system", "os.popen"):
            found.append(f"{name} with a shell")
        if last == "import_module":
            found.append(name)
    return found


@pytest.mark.parametrize("path", MODULES, ids=lambda path: path.name)
def test_no_module_reads_formats_that_can_run_code(path):
    assert offences(path.read_text()) == IMPORTERS.get(path.name, [])


@pytest.mark.parametrize(
    "source",
    [
        "import pickle",
        "from torch import load",
        "def f():\n    import joblib.numpy_pickle",
        "np.load(path)",
        "np.load(path, allow_pickle=True)",
        "eval(text)",
        "zipfile.ZipFile(p).extractall()",
        "subprocess.run(c, shell=True)",
        "importlib.import_module(name)",
    ],
)
def test_the_scan_finds_forbidden_calls(source):
    assert len(offences(source)) == 1


def test_the_modules_that_import_by_name_do_so_by_a_job_of_the_list():
    from gpt1_jax import config as config_lib

    assert set(config_lib.choices("job")) == {
        path.stem for path in (PACKAGE / "jobs").glob("[a-z]*.py")
    }
    config_dict = config_lib.to_config_dict(config_lib.RunConfig())
    config_dict.job = "os"
    with pytest.raises(ValueError, match=r"config.job='os'; pretrain\|"):
        config_lib.checked(config_dict)


def test_names_in_an_index_of_shards_lead_to_no_other_directory(tmp_path):
    """A name with a directory is refused, so that no file outside is opened."""
    inside, secret = tmp_path / "model", tmp_path / "secret.safetensors"
    inside.mkdir()
    safetensors.numpy.save_file({"x": np.zeros(3, np.float32)}, secret)
    for name in ("../secret.safetensors", str(secret)):
        index = {"weight_map": {"x": name}}
        (inside / "model.safetensors.index.json").write_text(json.dumps(index))
        with pytest.raises(
            ValueError, match=r"can't be read; an index of shards is expected"
        ):
            list(huggingface._tensors(inside))


class Ran:
    """A pickle of it would run code when it is read."""

    def __reduce__(self):
        return (Path.touch, (Path("it_ran"),))


def test_pickled_arrays_are_refused_and_not_run(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    array = np.empty(1, object)
    array[0] = Ran()
    np.save(tmp_path / "params_0.npy", array, allow_pickle=True)
    with pytest.raises(ValueError, match=r"params_0.npy can't be read: Array can't"):
        openai._open_piece(tmp_path / "params_0.npy")
    assert not Path("it_ran").exists()


def test_code_beside_data_is_not_run(tmp_path, monkeypatch):
    """Other projects load a module from the directory of a tokenizer."""
    for name in ("tokenizer.py", "modeling.py", "__init__.py", "conftest.py"):
        (tmp_path / name).write_text("import pathlib; pathlib.Path('it_ran').touch()")
    monkeypatch.chdir(tmp_path)
    with pytest.raises(FileNotFoundError, match="no tokenizer in"):
        tokenizers.load(tmp_path)
    assert not Path("it_ran").exists()
    assert "trust_remote_code" not in inspect.getsource(huggingface)
