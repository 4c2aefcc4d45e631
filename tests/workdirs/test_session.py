"""The line that announces a run; tests/jobs cover the rest of sessions."""

from pathlib import Path

import pytest

from gpt1_jax.config import ModelConfig, RunConfig
from gpt1_jax.workdirs import session


@pytest.mark.parametrize(
    ("model", "warning"),
    [
        (
            ModelConfig(attention="fused"),
            "warning: this machine has no fused attention kernel",
        ),
        (ModelConfig(), ""),
        (ModelConfig(backbone="lstm", attention="fused"), ""),
    ],
)
def test_a_run_says_where_it_is_and_which_kernel_is_missing(capsys, model, warning):
    session.announce(RunConfig(job="pretrain", model=model), Path("runs/x"))
    captured = capsys.readouterr()
    first, *others = (captured.out + captured.err).splitlines()
    assert first.startswith("devices: ")
    assert first.endswith("; float32; run: runs/x")
    assert bool(others) == bool(warning)
    assert " ".join(others).startswith(warning)
