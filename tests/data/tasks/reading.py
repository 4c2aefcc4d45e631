"""Small task files for the tests of the readers."""

import collections

from gpt1_jax.data.tasks.examples import Columns, Labels

CLOZE = Columns(
    ("End1", "End2"), Labels("Right", {"1": 0, "2": 1}), context=("S1", "S2")
)


def write(tmp_path, content, name="file.txt"):
    path = tmp_path / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return path


def read(reader, path, **more):
    """Returns the examples, and the counts of the skipped rows."""
    skipped = collections.Counter()
    return list(reader(path, skipped, **more)), dict(skipped)
