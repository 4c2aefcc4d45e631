"""The layers of the package: imports point down only."""

import ast

import pytest

from tests.docs_pages import ROOT

PACKAGE = ROOT / "gpt1_jax"
# From the bottom up; modules of one level may import each other.
LEVELS = (
    {"errors", "files", "terminal", "config", "storyworld"},
    {"data", "models"},
    {"training", "distributed"},
    {"workdirs"},
    {"inference", "evaluation", "interop", "reporting"},
    {"cli", "jobs"},
)
COMMANDS = len(LEVELS)


def level(name: str) -> int:
    """Returns the level of a room; commands are above all rooms."""
    return next((n for n, rooms in enumerate(LEVELS) if name in rooms), COMMANDS)


def imported_rooms(source: str) -> set[str]:
    """Returns the rooms that a module imports, at the top or inside functions."""
    found = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.ImportFrom) and node.module:
            parts = node.module.split(".")
            if parts[0] == "gpt1_jax":
                names = parts[1:2] or [alias.name for alias in node.names]
                found |= {name for name in names if not name.startswith("__")}
    return found


MODULES = sorted(path for path in PACKAGE.rglob("*.py") if path.parent != PACKAGE)


@pytest.mark.parametrize("path", MODULES, ids=lambda p: str(p.relative_to(PACKAGE)))
def test_module_imports_nothing_from_above(path):
    own = level(path.relative_to(PACKAGE).parts[0])
    above = {room for room in imported_rooms(path.read_text()) if level(room) > own}
    assert not above


@pytest.mark.parametrize("path", sorted((PACKAGE / "data").rglob("*.py")), ids=str)
def test_data_does_not_import_jax(path):
    names = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names |= {alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            names.add(node.module.split(".")[0])
    assert not names & {"jax", "flax", "optax", "orbax"}


def test_the_scan_finds_an_import_from_above():
    source = "def f():\n    from gpt1_jax.jobs import pretrain\n"
    assert imported_rooms(source) == {"jobs"}
    assert level("jobs") > level("training") > level("models")
    assert level("main") > level("cli")
