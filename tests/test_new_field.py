"""A new config field is declared in one place; every rule about fields follows."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

from tests.docs_pages import ROOT

# The field is declared before this line, in a copy of the package.
AFTER = "    num_layers: int = architecture("
DECLARATION = '    norm_epsilon: float = architecture(1e-5, "epsilon of layer norm")\n'

PROGRAM = """
import dataclasses, json, sys
from pathlib import Path
from gpt1_jax import config as config_lib, report
from gpt1_jax.errors import UserError
from gpt1_jax.workdirs import starting_point

root, found = Path(sys.argv[1]), {}
changed = lambda **fields: config_lib.replace(
    config_lib.RunConfig(), {n.replace("__", "."): x for n, x in fields.items()}
)
refused = lambda function, *args: str(message(function, *args))
def message(function, *args):
    try:
        function(*args)
    except UserError as error:
        return error

trained = changed(model__norm_epsilon=0.25, data__corpus="books/*.txt")
for name, config in {"pretrain": trained, "other": changed()}.items():
    (root / name).mkdir()
    (root / name / "config.json").write_text(json.dumps(dataclasses.asdict(config)))
start = {"init__path": str(root / "pretrain"), "data__task_dir": "glue"}
tuning = changed(job="finetune", task__name="rte", **start)
evaluation = changed(job="evaluate", **start)
for name, config in {"finetuning": tuning, "evaluation": evaluation}.items():
    inherited = starting_point.with_inherited(config, root / name)
    found[name] = inherited.model.norm_epsilon
path = "model.norm_epsilon"
found["override"] = refused(starting_point.check_overrides, tuning, [path])
found["range"] = refused(config_lib.validate, changed(model__norm_epsilon=-1.0))
found["resume"] = config_lib.conflicts(config_lib.RunConfig(), changed(**{path: 0.25}))
found["fingerprint"] = (
    config_lib.fingerprint(changed(**{path: 0.25})) != config_lib.fingerprint(changed())
)
found["command line"] = config_lib.parse(path, "1e-3")
report._FLAGS(["report", f"--output={root / 'report'}"])
report.main([str(root / "pretrain"), str(root / "other")])
found["report"] = "epsilon=0.25" in (root / "report/report.md").read_text()
(root / "found.json").write_text(json.dumps(found))
"""


def test_new_architecture_field_is_inherited_checked_fingerprinted_and_reported(
    tmp_path,
):
    copy = tmp_path / "copy"
    shutil.copytree(ROOT / "gpt1_jax", copy / "gpt1_jax")
    shutil.copytree(ROOT / "experiments", copy / "experiments")
    fields = copy / "gpt1_jax/config/fields.py"
    source = fields.read_text()
    assert source.count(AFTER) == 1
    fields.write_text(source.replace(AFTER, DECLARATION + AFTER))
    environment = os.environ | {"PYTHONPATH": str(copy), "JAX_PLATFORMS": "cpu"}
    program = [sys.executable, "-c", PROGRAM, str(tmp_path)]
    subprocess.run(program, cwd=copy, env=environment, check=True)
    found = json.loads(Path(tmp_path / "found.json").read_text())
    assert found["finetuning"] == found["evaluation"] == 0.25
    assert "config.model.norm_epsilon=1e-05, but the model in" in found["override"]
    assert found["range"].startswith("config.model.norm_epsilon=-1.0; from 1e-30 to")
    assert found["resume"] == ["model.norm_epsilon: 1e-05 -> 0.25"]
    assert found["fingerprint"]
    assert found["command line"] == 1e-3
    assert found["report"]
