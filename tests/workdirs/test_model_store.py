"""The precision in which a model is restored."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from gpt1_jax.config import ModelConfig, RunConfig
from gpt1_jax.workdirs import model_store


@pytest.mark.parametrize(("asked", "dtype"), [("", "float64"), ("float32", "float32")])
def test_a_model_is_restored_in_the_dtype_that_it_is_used_with(tmp_path, asked, dtype):
    config = RunConfig(model=ModelConfig(compute_dtype="float64"))
    table_VD = np.full((5, 3), 1 / 3)
    try:
        jax.config.update("jax_enable_x64", True)
        params = {"embed": {"token": table_VD}}
        model_store.create(tmp_path / "run", config, params, None, {})
        jax.config.update("jax_enable_x64", False)
        found = model_store.restore(
            tmp_path / "run", compute_dtype=asked, needs_tokenizer=False
        )
        assert found.config == config
        assert found.model.compute_dtype == jnp.ones(1).dtype == dtype
        restored_VD = found.params["embed"]["token"]
        assert (restored_VD == table_VD.astype(dtype)).all()
        assert restored_VD.dtype == dtype
    finally:
        jax.config.update("jax_enable_x64", False)


def test_a_link_to_a_checkpoint_or_a_workdir_is_followed(pretrained_workdir, tmp_path):
    (tmp_path / "best").symlink_to(pretrained_workdir / "checkpoints/3")
    (tmp_path / "latest").symlink_to(pretrained_workdir)
    assert model_store.workdir_and_step(tmp_path / "best")[1] == 3
    assert model_store.restore(tmp_path / "best").step == 3
    assert model_store.restore(tmp_path / "latest").step == 6
    with pytest.raises(ValueError, match=r"~nobody_here/run: .* write the path"):
        model_store.restore("~nobody_here/run")
