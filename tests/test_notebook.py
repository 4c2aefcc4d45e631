"""The notebook: its form, its commands and, on request, its results.

GPT1_JAX_NOTEBOOK=quick python -m pytest -n0 tests/test_notebook.py runs all cells in
the quick size, in two to three minutes. Without the variable only cheap tests run.
"""

import os
import re
import shlex
import types
from pathlib import Path

import nbclient
import nbformat
import pytest
from IPython.core.inputtransformer2 import TransformerManager

from experiments import finetune, pretrain
from gpt1_jax import config as config_lib
from tests import command_lines
from tests.docs_pages import ROOT

NOTEBOOK = nbformat.read(ROOT / "notebooks/gpt1_colab.ipynb", as_version=4)
CODE = [cell for cell in NOTEBOOK.cells if cell.cell_type == "code"]
SETTINGS = next(cell.source for cell in CODE if "\nSIZE = " in cell.source)
GUARDED = [cell.source for cell in CODE if re.match("if WITH_", cell.source)]
is_run = pytest.mark.skipif(
    "GPT1_JAX_NOTEBOOK" not in os.environ, reason="GPT1_JAX_NOTEBOOK is not set"
)


def settings(monkeypatch) -> dict:
    """Returns the names of the settings cell, without the environment's influence."""
    monkeypatch.delenv("GPT1_JAX_NOTEBOOK", raising=False)
    names: dict = {}
    exec(SETTINGS, names)
    return names


def test_notebook_is_tidy():
    nbformat.validate(NOTEBOOK)
    assert len(CODE) >= 12
    for cell in CODE:
        assert cell.outputs == []
        assert cell.execution_count is None
    titles = re.findall(
        r"^## (.*)$", "\n".join(cell.source for cell in NOTEBOOK.cells), re.MULTILINE
    )
    assert titles[:4] == ["Settings", "Install", "Devices", "Pre-train"]


def test_sections_for_larger_machines_are_switched_off(monkeypatch):
    names = settings(monkeypatch)
    assert {n: v for n, v in names.items() if n.startswith("WITH_")} == {
        "WITH_BOOKS": False,
        "WITH_OPENAI": False,
        "WITH_PAPER": False,
    }
    assert (names["SIZE"], names["ACCELERATOR"], names["SOURCE"]) == ("demo", "cpu", "")


@pytest.mark.parametrize("accelerator", ["cpu", "tpu"])
def test_missing_accelerator_is_reported(accelerator, monkeypatch, capsys):
    (source,) = (cell.source for cell in CODE if "default_backend" in cell.source)
    exec(source, settings(monkeypatch) | {"ACCELERATOR": accelerator})
    said = capsys.readouterr().out
    assert "(cpu)" in said
    assert ("There is no tpu here" in said) == (accelerator == "tpu")


def test_switched_off_cells_have_valid_configs_and_commands(monkeypatch):
    names, configs, commands = settings(monkeypatch), {}, []

    def run(config, workdir) -> None:
        configs[workdir.name] = config_lib.checked(config)

    shell = types.SimpleNamespace(
        system=commands.append, run_line_magic=lambda *_, **__: None
    )
    model = types.SimpleNamespace(generate=lambda prompt, temperature: prompt)
    job = types.SimpleNamespace(run=run)
    names |= {
        "jax": types.SimpleNamespace(devices=lambda: [0] * 8),
        "gpt1_jax": types.SimpleNamespace(load=lambda workdir: model),
        "get_ipython": lambda: shell,
        "pretrain": job,
        "finetune": job,
        "pretrain_experiment": pretrain,
        "finetune_experiment": finetune,
    } | dict.fromkeys((name for name in names if name.startswith("WITH_")), True)
    for source in GUARDED:
        exec(TransformerManager().transform_cell(source), names)
    assert set(configs) == {"books", "gpt1-rte", "paper"}
    paper = configs["paper"]
    assert paper.model.num_layers == 12
    assert paper.model.compute_dtype == "bfloat16"
    assert paper.mesh.fsdp
    assert not config_lib.warnings(paper, paper.train.max_steps)
    clone, convert = (shlex.split(line.format(**names)) for line in commands)
    assert clone[:2] == ["git", "clone"]
    # The next command reads the clone's directory.
    assert convert[convert.index("--input") + 1].startswith(Path(clone[2]).name)
    setting, python, m, *argv = convert
    assert (setting, python, m) == ("JAX_PLATFORMS=cpu", "python", "-m")
    command_lines.parse(argv)


@pytest.fixture(scope="module")
def outputs(tmp_path_factory) -> list:
    """The outputs of all cells of the notebook, run in an empty directory."""
    directory = tmp_path_factory.mktemp("notebook")
    notebook = NOTEBOOK.copy()
    client = nbclient.NotebookClient(
        notebook, timeout=600, resources={"metadata": {"path": str(directory)}}
    )
    home = {"HOME": str(directory), "PYTHONPATH": str(ROOT), "JAX_PLATFORMS": "cpu"}
    client.execute(env=os.environ | home)
    return [output for cell in notebook.cells for output in cell.get("outputs", [])]


@pytest.fixture(scope="module")
def said(outputs) -> str:
    """Everything that the notebook prints."""
    streams = [output for output in outputs if output.output_type == "stream"]
    return "".join(output.text for output in streams if output.name == "stdout")


@is_run
def test_pretraining_beats_the_unigram_by_a_factor_of_4(said):
    found = re.search(r"perplexity ([\d.]+); by frequencies alone ([\d.]+)", said)
    perplexity, unigram = map(float, found.groups())
    assert 1 < perplexity < unigram / 4


@is_run
def test_three_figures_are_inline(outputs):
    kinds = [set(output.get("data", {})) for output in outputs]
    assert sum("image/png" in kind for kind in kinds) == 3


@is_run
def test_pretrained_beats_scratch(said):
    rows = re.findall(r"^(qnli|sst2) +([\d.]+) +([\d.]+)$", said, re.MULTILINE)
    assert [task for task, _, _ in rows] == ["qnli", "sst2"]
    gains = [float(with_) - float(without) for _, with_, without in rows]
    assert sum(gains) > 10
    assert max(gains) > 10


@is_run
def test_models_generate_and_classify(said):
    for prompt in ("once upon a time", "the old bridge", "chapter 1."):
        assert re.search(rf"^{re.escape(prompt)} \|.*\w", said, re.MULTILINE)
    answers = re.findall(r"^(positive|negative): (.*)$", said, re.MULTILINE)
    assert len(answers) == 2


@is_run
def test_zero_shot_scores_rise(said):
    scores = re.findall(r"^step [\d,]+: cola/matthews (-?[\d.]+)$", said, re.MULTILINE)
    assert len(scores) == 4
    assert float(scores[-1]) > max(0.1, float(scores[0]))


@is_run
def test_libraries_are_silent(outputs):
    streams = [output for output in outputs if output.output_type == "stream"]
    assert [output.text for output in streams if output.name == "stderr"] == []
    assert not [output.text for output in streams if "\x1b" in output.text]
