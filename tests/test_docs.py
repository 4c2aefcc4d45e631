"""The project's pages: each command parses, and each name, path and link exists.

bash runs the blocks, with their loops and quotes, but `python` only records its
arguments, and no other program is on the path.
"""

import ast
import contextlib
import importlib.util
import re
import subprocess
from pathlib import Path

import pytest

from gpt1_jax.cli import experiment, grid
from gpt1_jax.config import RunConfig, flatten
from gpt1_jax.data.tasks.rows import TASKS
from gpt1_jax.errors import NotFound
from tests import command_lines
from tests.docs_pages import PAGES, ROOT, blocks, tables, without_blocks

SHELL = ("", "bash")
CALL = re.compile(r"(?:^|&& |srun |time )\s*python -[mc] ", re.MULTILINE)
# Records the arguments of each python, an unprintable character after each. A call is
# recorded in one write, because a loop may run several at once.
PRELUDE = r"""
command_not_found_handle() { :; }
python() { local all; printf -v all '%s\x1f' "$@"; printf '%s\x1e' "$all" >&3; }
srun() { "$@"; }
SLURM_ARRAY_TASK_ID=1
"""


def by_page(values) -> list:
    return [pytest.param(v, id=f"{v[0].name}-{n}") for n, v in enumerate(values)]


def python_calls(script: str, directory: Path) -> list[list[str]]:
    """Returns the arguments of each python that a script would run."""
    recorded = directory / "recorded"
    recorded.write_bytes(b"")
    subprocess.run(
        ["/bin/bash", "-c", f"exec 3>>'{recorded}'\n{PRELUDE}\n{script}\nwait"],
        cwd=directory,
        env={"PATH": "/nowhere"},
        stderr=subprocess.DEVNULL,
        timeout=60,
    )
    calls = recorded.read_text().split("\x1e")[:-1]
    return [call.split("\x1f")[:-1] for call in calls]


def inline(page: Path, start: str) -> list[str]:
    """Returns the inline code of a page that begins with `start`, without newlines."""
    prose = re.sub(r"^#.*$", "", without_blocks(page), flags=re.MULTILINE)
    found = re.findall(r"`([^`]+)`", prose)
    return [" ".join(code.split()) for code in found if code.startswith(start)]


SCRIPTS = [
    (page, block.text)
    for page in PAGES
    for block in blocks(page)
    # Output that quotes a command begins with other words.
    if block.language in SHELL and CALL.search(block.text)
]
SCRIPTS += [(p, code) for p in PAGES for code in inline(p, "python -")]
SCRIPTS += [(p, code) for p in PAGES for code in inline(p, "srun python -m ")]
OVERRIDES = [
    (page, code)
    for page in PAGES
    for code in inline(page, "--config.")
    if code != "--config."
]
FIELDS = [
    (page, code)
    for page in PAGES
    for code in inline(page, "config.")
    if "..." not in code and code != "config.json"
]
PYTHON = [
    (page, block.text)
    for page in PAGES
    for block in blocks(page)
    if block.language == "python"
]
LINKS = [
    (page, link)
    for page in PAGES
    for link in re.findall(r"\]\(([^)#]+)[^)]*\)", without_blocks(page))
    if "://" not in link
]


@pytest.fixture
def elsewhere(tmp_path, monkeypatch) -> Path:
    """A directory without runs, with the experiment files of the pages."""
    for _, source in PYTHON:
        if name := re.match(r'"""(\w+\.py): ', source):
            (tmp_path / name[1]).write_text(source)
    monkeypatch.chdir(tmp_path)
    # Removes the tasks that these files register.
    known = dict(TASKS)
    yield tmp_path
    TASKS.clear()
    TASKS.update(known)


def check(call: list[str]) -> str:
    """Parses the arguments of a python as its command would; returns what they are."""
    if call[0] == "-c":
        compile(call[1], "-c", "exec")
        return "code"
    assert call[0] == "-m"
    argv = [argument for argument in call[1:] if argument != "..."]
    if argv[0].endswith("."):  # the head of a column of modules
        assert importlib.util.find_spec(argv[0][:-1])
        return "prefix"
    if not argv[0].startswith(("gpt1_jax.", "benchmarks.")):
        assert importlib.util.find_spec(argv[0])
        return "other"
    is_abbreviated = len(argv) == 1 or argv[-1] == "--config"
    if is_abbreviated:
        assert importlib.util.find_spec(argv[0])
        return "abbreviated"
    module = command_lines.parse(argv)
    if "config" in module._FLAGS:
        config = experiment.resolve(module._FLAGS)
        if "axis" in module._FLAGS:
            check_axes(module._FLAGS, config)
    return "parsed"


def check_axes(flag_values, config: RunConfig) -> None:
    """Checks the axes as the command sweep does before it runs anything."""
    axes = grid.parse_axes(flag_values["axis"].value)
    with contextlib.suppress(NotFound):  # the experiment's model
        axes = axes or grid.of_experiment(experiment.axes(flag_values, config))
        assert axes
    cells = grid.cells(axes) if axes else []
    for cell in cells:
        experiment.check(grid.config_of(config, cell), set())
    grid.share(max(8, len(cells)), flag_values["only"].value)


def test_pages_have_scripts_fields_links_and_no_unknown_language():
    assert {page.name for page in PAGES} >= {"README.md", "data.md", "own_task.md"}
    assert len(SCRIPTS) >= 25
    assert len(OVERRIDES) >= 20
    assert len(FIELDS) >= 3
    assert len(PYTHON) >= 3
    assert len(LINKS) >= 5
    # A command in a block of another language would not be checked.
    known = {"python", *SHELL, "text", "json"}
    found = {block.language for page in PAGES for block in blocks(page)}
    assert found <= known


def test_bash_expands_loops_and_quotes(tmp_path):
    script = """
for task in cola rte; do
  srun python -m gpt1_jax.main --config "x.py:$task" \\
      --config.data.corpus='/data/*.txt' &
done; wait
pip install nothing && python -m gpt1_jax.submit runs/{a,b} --output z.zip  # why
"""
    main = ["-m", "gpt1_jax.main", "--config"]
    calls = python_calls(script, tmp_path)
    assert sorted(calls[:2]) == [
        [*main, f"x.py:{task}", "--config.data.corpus=/data/*.txt"]
        for task in ("cola", "rte")
    ]
    assert calls[2:] == [
        ["-m", "gpt1_jax.submit", "runs/a", "runs/b", "--output", "z.zip"]
    ]


@pytest.mark.parametrize("script", by_page(SCRIPTS))
def test_commands_parse(script, elsewhere):
    _, text = script
    calls = python_calls(text, elsewhere)
    assert len(calls) >= text.count("python -m ") + text.count("python -c ")
    for call in calls:
        check(call)


def test_most_commands_are_parsed_completely(elsewhere):
    calls = [c for _, text in SCRIPTS for c in python_calls(text, elsewhere)]
    kinds = [check(call) for call in calls]
    assert kinds.count("parsed") >= 40
    assert kinds.count("parsed") > 0.8 * len(kinds)


@pytest.mark.parametrize(
    "wrong",
    [
        "gpt1_jax.main --config experiments/pretrain.py:smal",
        "gpt1_jax.main --config experiments/pretrain.py --config.train.steps=3",
        "gpt1_jax.main --config experiments/pretrain.py --config.model.num_heads=5",
        "gpt1_jax.generate --checkpoint runs/pretrain --promt x",
        "gpt1_jax.generate --prompt x",
        "gpt1_jax.sweep --config experiments/pretrain.py --axis sed=0,1",
        "gpt1_jax.pretrain --config experiments/pretrain.py",
    ],
)
def test_command_with_a_mistake_is_found(wrong, elsewhere):
    (call,) = python_calls(f"python -m {wrong}", elsewhere)
    with pytest.raises(Exception, match=r"."):
        check(call)


@pytest.mark.parametrize("override", by_page(OVERRIDES))
def test_overrides_in_the_prose_parse(override, elsewhere):
    _, text = override
    (call,) = python_calls(f"python {text}", elsewhere)
    names = [word.partition("=")[0].removeprefix("--config.") for word in call]
    assert set(names) <= set(flatten(RunConfig()))
    with_value = [word for word in call if re.search("=.", word)]
    errors = []
    for words in ("pretrain.py", "finetune.py:rte"):
        argv = ["gpt1_jax.main", f"--config=experiments/{words}", *with_value]
        try:
            experiment.resolve(command_lines.parse(argv)._FLAGS)
        except ValueError as error:
            errors.append(error)
    assert len(errors) < 2, errors


@pytest.mark.parametrize("field", by_page(FIELDS))
def test_fields_in_the_prose_exist(field):
    _, text = field
    name = text.removeprefix("config.").partition("=")[0]
    paths = flatten(RunConfig())
    assert name in paths or any(path.startswith(f"{name}.") for path in paths)


@pytest.mark.parametrize("source", by_page(PYTHON))
def test_python_compiles_and_its_imports_exist(source):
    nodes = list(ast.walk(ast.parse(source[1])))
    imports = [node for node in nodes if isinstance(node, ast.Import | ast.ImportFrom)]
    assert imports
    names: dict = {}
    exec("\n".join(map(ast.unparse, imports)), names)
    for node in nodes:
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name):
            owner = names.get(node.value.id)
            assert owner is None or hasattr(owner, node.attr), ast.unparse(node)


@pytest.mark.parametrize("link", by_page(LINKS))
def test_links_lead_to_files(link):
    page, target = link
    assert (page.parent / target).exists()


def test_readme_is_short():
    assert len((ROOT / "README.md").read_text().split()) <= 1500


def changes() -> list[dict[str, str]]:
    """Returns the rows of the table that says where to change what."""
    found = tables(ROOT / "CONTRIBUTING.md")
    (table,) = (rows for rows in found if "to change" in rows[0])
    return table


@pytest.mark.parametrize("row", changes(), ids=lambda row: row["to change"])
def test_files_that_the_code_map_names_exist(row):
    named = {
        "gpt1_jax": re.findall(r"`([\w/]+\.py)`", row["edit"]),
        "tests": re.findall(r"`([\w/]+\.py)`", row["its tests"]),
    }
    assert named["gpt1_jax"] or "`experiments/`" in row["edit"]
    assert named["tests"]
    for folder, paths in named.items():
        for path in paths:
            assert (ROOT / folder / path).is_file(), f"{folder}/{path}"
