"""Settings of the whole suite."""

from collections.abc import Callable

import hypothesis
import jax
import numpy as np
import pytest

# Broadcasting between arrays of different ranks hides mistakes: write the axes.
jax.config.update("jax_numpy_rank_promotion", "raise")

# No test is about time: a busy machine is no failure.
hypothesis.settings.register_profile("suite", deadline=None)
hypothesis.settings.load_profile("suite")


@pytest.fixture(scope="session")
def make_params() -> Callable:
    """model -> parameters from N(0, 0.5), so large that every effect shows."""

    def make(model, seed: int = 0) -> dict:
        from gpt1_jax import pretrained  # tests of data alone do without it

        rng = np.random.default_rng(seed)
        shapes = jax.eval_shape(
            lambda: pretrained.init_params(model, jax.random.key(0))
        )
        return jax.tree.map(
            lambda x: (0.5 * rng.standard_normal(x.shape)).astype(x.dtype), shapes
        )

    return make
