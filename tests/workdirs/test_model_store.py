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
