"""Paths that orbax can use, and the arrays that it wrote.

orbax and TensorStore take some characters of a path for a pattern or a separator: in a
directory `run [1]` orbax 0.11 writes checkpoints without their arrays.
"""

import hashlib
import json
import math
import os
import re
import tempfile
import uuid
from pathlib import Path

import tensorstore

from gpt1_jax.errors import RunFailed, UserError
from gpt1_jax.files import parse_json

_PLAIN_PATH = re.compile(r"[\w./+,=@: -]*")


def plain_path(directory: Path) -> Path:
    """Returns a path of `directory`, which exists, that orbax reads as it is meant.

    For a path with other characters it is a link in the system's directory for
    temporary files, the same one for every process.
    Raises: UserError: the link cannot be made.
    """
    if _PLAIN_PATH.fullmatch(str(directory)):
        return directory
    name = hashlib.sha256(os.fsencode(directory)).hexdigest()[:24]
    links = Path(tempfile.gettempdir()) / f"gpt1_jax-links-{os.getuid()}"
    new = links / f"{name}.{uuid.uuid4().hex}"
    try:
        links.mkdir(mode=0o700, exist_ok=True)
        new.symlink_to(directory)
        new.replace(links / name)
    except OSError as error:
        raise UserError(
            f"{directory}: orbax cannot use this path, and no link to it can be made "
            f"({error}); a path of letters, digits, spaces and ._-+,=@: is expected; "
            "name another, or set TMPDIR"
        ) from None
    return links / name


def check_arrays(item: Path) -> None:
    """Reads back which arrays orbax wrote to the directory `item` of a checkpoint.

    Raises: RunFailed naming the first array that its metadata lists and that is not
            there.
    """
    metadata = json.loads((item / "_METADATA").read_text(encoding="utf-8"))
    expected = {
        ".".join(str(key["key"]) for key in leaf["key_metadata"])
        for leaf in metadata["tree_metadata"].values()
        if leaf["value_metadata"]["value_type"] == "jax.Array"
    }
    base = {"driver": "file", "path": f"{plain_path(item)}/"}
    store = tensorstore.KvStore.open({"driver": "ocdbt", "base": base}).result()
    keys = {key.decode().rpartition("/")[0] for key in store.list().result()}
    if missing := sorted(expected - keys):
        raise RunFailed(
            f"{item}: {len(missing)} of {len(expected)} arrays were not written, such "
            f"as {missing[0]}; the checkpoint does not count as saved"
        )


def num_elements(item: Path) -> int:
    """Returns the number of elements of all arrays in `item` of a checkpoint.

    Raises: OSError, ValueError, KeyError, TypeError: its metadata cannot be read.
    """
    metadata = parse_json((item / "_METADATA").read_text(encoding="utf-8"))
    leaves = metadata["tree_metadata"].values()
    shapes = [leaf["value_metadata"]["write_shape"] for leaf in leaves]
    return sum(math.prod(shape) for shape in shapes)
