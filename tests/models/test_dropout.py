"""Dropout masks: their statistics, their independence and their dependences."""

import itertools
import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from gpt1_jax.models import dropout


def rows(*numbers: int) -> jax.Array:
    return jnp.array(numbers, jnp.uint32)


def drop_rows(x, rate, *, key: int, row_N) -> jax.Array:
    return dropout.drop(x, rate, dropout.row_seeds(jax.random.key(key), row_N))


def kept(shape, rate, *, key=0, row_N=None) -> np.ndarray:
    """Returns where drop_rows keeps the elements of an array."""
    row_N = jnp.arange(shape[0], dtype=jnp.uint32) if row_N is None else row_N
    x = drop_rows(jnp.ones(shape), rate, key=key, row_N=row_N)
    return np.asarray(x) > 0


def random_bits(num_rows: int, num: int, seed: int = 7) -> np.ndarray:
    seed_N2 = dropout.row_seeds(jax.random.key(seed), rows(*range(num_rows)))
    return np.asarray(dropout._random_bits(seed_N2, (num,)))


@pytest.mark.parametrize("rate", [0.1, 0.5, 0.9])
def test_share_of_kept_elements_is_one_minus_rate(rate):
    keep = kept((5, 101, 103), rate)
    sigma = np.sqrt(rate * (1 - rate) / keep.size)
    assert abs(keep.mean() - (1 - rate)) < 4 * sigma
    for row in keep:
        assert abs(row.mean() - (1 - rate)) < 4 * sigma * np.sqrt(5)


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_kept_elements_are_scaled_and_the_rest_zero(dtype):
    x = jax.random.normal(jax.random.key(1), (3, 5, 7), dtype) + 9
    y = drop_rows(x, 0.5, key=0, row_N=rows(0, 1, 2))
    assert y.dtype == x.dtype
    keep = np.asarray(y != 0)
    assert 0 < keep.sum() < keep.size
    np.testing.assert_array_equal(y, np.where(keep, 2 * x, 0))


def test_rate_zero_is_the_identity():
    x = jax.random.normal(jax.random.key(1), (3, 5))
    y = drop_rows(x, 0.0, key=0, row_N=rows(0, 1, 2))
    np.testing.assert_array_equal(y, x)
    params = {"embed": {"token": x, "position": x}}
    assert dropout.drop_embeddings(params, 0.0, jax.random.key(0)) is params


def test_masks_of_steps_layers_sites_and_rows_are_uncorrelated():
    size, masks = 4093, []
    for step, layer, site in itertools.product(range(3), range(3), range(3)):
        step_key = jax.random.fold_in(jax.random.key(0), step)
        seed_N2 = dropout.row_seeds(step_key, rows(0, 1, 2))
        own_N2 = dropout.site_seeds(seed_N2, layer, site)
        x = dropout.drop(jnp.ones((3, size)), 0.5, own_N2)
        masks.append(np.asarray(x) > 0)
    masks = np.concatenate(masks)
    assert len(masks) == 81
    r = np.corrcoef(masks)[np.triu_indices(len(masks), 1)] * np.sqrt(size)
    # Of 3240 pairs, one is beyond 4 sigma in every fifth run, beyond 5 in every 500th.
    assert np.abs(r).max() < 5
    assert abs(np.mean(r**2) - 1) < 4 * np.sqrt(2 / len(r))


def test_masks_of_heads_and_queries_are_uncorrelated():
    H, L = 12, 64
    mask_HLM = kept((1, H, L, L), 0.5)[0]
    for masks in (mask_HLM.reshape(H, -1), mask_HLM.swapaxes(0, 1).reshape(L, -1)):
        pairs = np.triu_indices(len(masks), 1)
        r = np.corrcoef(masks)[pairs] * np.sqrt(masks.shape[1])
        assert np.abs(r).max() < 5
        assert abs(np.mean(r**2) - 1) < 4 * np.sqrt(2 / len(r))


def test_a_row_keeps_its_mask_however_rows_are_split_into_batches():
    together = kept((6, 11, 13), 0.3)
    assert len({row.tobytes() for row in together}) == 6
    split = [
        kept((3, 11, 13), 0.3, row_N=rows(0, 1, 2)),
        kept((3, 11, 13), 0.3, row_N=rows(3, 4, 5)),
    ]
    np.testing.assert_array_equal(np.concatenate(split), together)
    mixed = kept((3, 11, 13), 0.3, row_N=rows(5, 1, 3))
    np.testing.assert_array_equal(mixed, together[[5, 1, 3]])


def test_masks_are_the_same_under_jit():
    def drop(x, key, row_N):
        return dropout.drop(x, 0.3, dropout.row_seeds(key, row_N))

    arguments = (jnp.ones((3, 11, 13)), jax.random.key(4), rows(2, 0, 1))
    np.testing.assert_array_equal(jax.jit(drop)(*arguments), drop(*arguments))


# The upper half of the bits decides about all but one in 65,536 elements.
@pytest.mark.parametrize("shift", [16, 24])
def test_each_byte_of_the_upper_half_is_uniform(shift):
    values = (random_bits(5, 1 << 16) >> shift) & 255
    for row in [*values, values]:
        expected = row.size / 256
        chi2 = ((np.bincount(row.ravel(), minlength=256) - expected) ** 2).sum()
        assert abs(chi2 / expected - 255) < 4 * np.sqrt(2 * 255)


def test_bits_of_neighbouring_elements_and_rows_are_uncorrelated():
    bits = random_bits(7, 1 << 16)
    signs = 2.0 * ((bits[..., None] >> np.arange(16, 32, 3)) & 1) - 1
    for distance in (1, 2, 3, 64, 512, 768, 4096):
        a, b = signs[:, distance:], signs[:, :-distance]
        n = a.shape[0] * a.shape[1]
        r = np.einsum("rpi,rpj->ij", a, b) / np.sqrt(n)
        assert np.abs(r).max() < 5, distance
    r = np.einsum("rpi,rpj->ij", signs[1:], signs[:-1]) / np.sqrt(6 * (1 << 16))
    assert np.abs(r).max() < 5


def test_masks_of_heads_are_uncorrelated_at_the_paper_s_size():
    """The indices of the same element in two heads differ by a multiple of 2^18."""
    H, L, rate = 12, 512, 0.1
    for row in range(3):
        keep = kept((1, H, L, L), rate, row_N=rows(row))[0]
        standard = (keep - (1 - rate)) / np.sqrt(rate * (1 - rate))
        for masks in (standard.reshape(H, -1), standard[0]):
            r = np.corrcoef(masks)[np.triu_indices(len(masks), 1)]
            r *= np.sqrt(masks.shape[1])
            assert np.abs(r).max() < 8 - 3 * (len(masks) == H)
            assert abs(np.mean(r**2) - 1) < 4 * np.sqrt(2 / len(r))


def test_masks_of_many_rows_have_no_correlation_at_any_distance():
    """Each row has its own stride, and no stride may be a bad one."""
    size, rate = 1 << 14, 0.1
    keep = kept((300, size), rate)
    standard = (keep - (1 - rate)) / np.sqrt(rate * (1 - rate))
    sums = standard.sum(1) / np.sqrt(size)
    assert abs(np.mean(sums**2) - 1) < 4 * np.sqrt(2 / len(sums))
    power = np.abs(np.fft.rfft(standard, 2 * size)) ** 2
    distance = np.arange(1, size // 2)
    r = np.fft.irfft(power)[:, distance] / np.sqrt(size - distance)
    # Of 2.5 million values, one is beyond 5.5 sigma in every tenth run.
    assert np.abs(r).max() < 6
    assert abs(np.mean(r**2) - 1) < 4 * np.sqrt(2 / r.size)


@pytest.mark.parametrize("second", [0, 1 << 31, 2])
def test_bits_never_repeat_within_a_row(second):
    seed_N2 = jnp.array([[7, second]], jnp.uint32)
    bits = np.asarray(dropout._random_bits(seed_N2, (1 << 16,)))
    assert len(np.unique(bits)) == 1 << 16


def test_runs_of_dropped_elements_are_as_frequent_as_by_chance():
    dropped = ~kept((5, 1 << 16), 0.25)
    for length in (2, 3, 4):
        windows = np.lib.stride_tricks.sliding_window_view(dropped, length, axis=1)
        windows = windows[:, ::length]
        share, p = windows.all(-1).mean(), 0.25**length
        assert abs(share - p) < 4 * np.sqrt(p / (windows.size / length)), length


def embedding_params() -> dict:
    rng = np.random.default_rng(0)
    return {
        "embed": {
            "token": jnp.asarray(rng.standard_normal((53, 59)), jnp.float32),
            "position": jnp.asarray(rng.standard_normal((61, 59)), jnp.float32),
        },
        "block_00": {"kernel": np.ones((3, 5), np.float32)},
    }


def test_embedding_dropout_changes_only_the_embedding_tables():
    params, rate = embedding_params(), 0.25
    drop = jax.jit(lambda params, key: dropout.drop_embeddings(params, rate, key))
    dropped = drop(params, jax.random.key(0))
    others = (dropped["block_00"], params["block_00"])
    jax.tree.map(np.testing.assert_array_equal, *others)
    keeps = {}
    for name, table in params["embed"].items():
        keep = np.asarray(dropped["embed"][name] != 0)
        sigma = np.sqrt(rate * (1 - rate) / keep.size)
        assert abs(keep.mean() - (1 - rate)) < 4 * sigma
        np.testing.assert_allclose(
            dropped["embed"][name], np.where(keep, table / 0.75, 0), rtol=1e-6
        )
        keeps[name] = keep
    agreement = (keeps["token"] == keeps["position"][:53]).mean()
    assert abs(agreement - 0.625) < 4 * np.sqrt(0.625 * 0.375 / (53 * 59))
    other = drop(params, jax.random.key(1))
    assert np.any((other["embed"]["token"] != 0) != keeps["token"])


def test_gradient_is_the_mask():
    x = jax.random.normal(jax.random.key(1), (3, 5, 7))

    def total(x):
        return (3 * drop_rows(x, 0.25, key=0, row_N=rows(0, 1, 2))).sum()

    gradient = jax.grad(total)(x)
    keep = kept((3, 5, 7), 0.25)
    assert 0 < keep.sum() < keep.size
    np.testing.assert_allclose(gradient, np.where(keep, 4.0, 0.0), rtol=1e-6)
    with jax.enable_x64(True):
        exact = jnp.asarray(x, jnp.float64)
        step = 1e-4 * np.random.default_rng(0).standard_normal(x.shape)
        difference = total(exact + step) - total(exact - step)
        np.testing.assert_allclose(difference, 2 * (gradient * step).sum(), rtol=1e-6)


@pytest.mark.skipif(jax.default_backend() != "gpu", reason="needs a GPU")
@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_on_gpus_the_bias_of_a_dense_layer_is_scaled_too(dtype):
    """XLA turned scale * (x W + bias) into scale * x W + bias (openxla/xla#46110)."""
    rng = np.random.default_rng(0)
    x, w, bias = (
        jnp.asarray(rng.standard_normal(shape), dtype)
        for shape in ((3, 128, 64), (64, 256), (256,))
    )
    rate, row_N = 0.25, rows(0, 1, 2)

    @jax.jit
    def dropped_dense(x, w, bias):
        return drop_rows(x @ w + bias[None, None], rate, key=0, row_N=row_N)

    exact = [np.asarray(array, np.float64) for array in (x, w, bias)]
    dense = exact[0] @ exact[1] + exact[2]
    expected = np.where(kept(dense.shape, rate), dense / (1 - rate), 0)
    found = np.asarray(dropped_dense(x, w, bias), np.float64)
    unscaled = np.where(expected != 0, expected - exact[2] * rate / (1 - rate), 0)
    atol, rtol = 0.05, 0.02
    assert (np.abs(unscaled - expected) > 2 * (atol + rtol * np.abs(expected))).any()
    np.testing.assert_allclose(found, expected, atol=atol, rtol=rtol)


def test_no_constant_multiplies_the_dropped_array():
    """The scale is selected by the mask, so that XLA cannot fold it into a product."""

    def dropped(x):
        return drop_rows(x, 0.25, key=0, row_N=rows(0, 1, 2))

    program = str(jax.make_jaxpr(dropped)(jnp.ones((3, 5))))
    assert re.findall(r"f32\[[^\]]*\] = mul \S+ \S+", program)
    assert not re.findall(r"f32\[[^\]]*\] = mul \S+ [\d.]+", program)
