"""Device programs lower for each kind of device, whichever this machine has."""

import jax
import jax.export
import numpy as np
import pytest

from gpt1_jax.config import ModelConfig, OptimConfig
from gpt1_jax.data.tasks.batches import TaskBatch
from gpt1_jax.data.text.corpus import LMBatch
from gpt1_jax.evaluation import perplexity
from gpt1_jax.inference import decode, scoring, task_logits
from gpt1_jax.models import heads
from gpt1_jax.models.transformer import Transformer
from gpt1_jax.training import losses, optim
from gpt1_jax.training import step as step_lib

PLATFORMS = ("cpu", "cuda", "tpu")
B, A, L, V = 4, 2, 16, 53
SEED = np.uint32(0)


@pytest.fixture(scope="module", params=["float32", "bfloat16"])
def model(request) -> Transformer:
    cfg = ModelConfig(
        num_layers=2,
        width=32,
        num_heads=2,
        mlp_width=64,
        context_length=L,
        compute_dtype=request.param,
    )
    return Transformer(cfg, V, remat=True)


def init_params(model, key) -> dict:
    params = model.init(key, np.zeros((1, 1), np.int32))["params"]
    return params | {"head": heads.init_head(key, 32, 1)}


def exported(function, *arguments) -> jax.export.Exported:
    shapes = jax.tree.map(
        lambda x: jax.ShapeDtypeStruct(np.shape(x), x.dtype), arguments
    )
    jitted = function if hasattr(function, "trace") else jax.jit(function)
    found = jax.export.export(jitted, platforms=PLATFORMS)(*shapes)
    assert found.platforms == PLATFORMS
    return found


def lm_batch() -> LMBatch:
    return LMBatch(
        np.ones((B, L + 1), np.int32),
        np.full(B, L, np.int32),
        np.arange(B, dtype=np.uint32),
    )


def task_batch() -> TaskBatch:
    return TaskBatch(
        np.ones((B, A, L), np.int32),
        np.full((B, A), L, np.int32),
        np.zeros(B, np.float32),
        np.arange(B, dtype=np.uint32),
    )


def train_step(model, loss_fn):
    cfg = OptimConfig()
    tx, schedule = optim.make_optimizer(cfg, 10), optim.make_schedule(cfg, 10)
    step = step_lib.make_train_step(loss_fn, tx, schedule, accumulation_steps=2)
    init = step_lib.make_init(lambda key: init_params(model, key), tx)
    return step, jax.eval_shape(init), exported(init, SEED)


def test_steps_of_training(model):
    objective = losses.TaskObjective("softmax", True, 0.5, 0.1)
    for loss_fn, batch in (
        (losses.make_lm_loss(model, is_train=True, chunk_elements=500), lm_batch()),
        (losses.make_task_loss(model, objective, chunk_elements=500), task_batch()),
    ):
        step, now, _ = train_step(model, loss_fn)
        found = exported(step, now, batch, SEED)
        assert len(found.out_avals) > len(jax.tree.leaves(now))


def test_evaluation(model):
    params = jax.eval_shape(lambda: init_params(model, jax.random.key(0)))
    loss_fn = losses.make_lm_loss(model, is_train=False, chunk_elements=500)
    exported(perplexity.make_eval_step(loss_fn), heads.backbone_of(params), lm_batch())
    logits_fn = task_logits.make_logits_fn(model, is_choice=True)
    assert exported(logits_fn, params, task_batch()).out_avals[0].shape == (B, A)


def test_scoring_and_decoding(model):
    params = heads.backbone_of(
        jax.eval_shape(lambda: init_params(model, jax.random.key(0)))
    )
    tokens = np.ones((B, L), np.int32)
    exported(scoring.make_token_logp(model, 500), params, tokens)
    decoder, lengths = decode.Decoder(model, L), np.full(B, 5, np.int32)
    read = jax.jit(lambda *given: decoder._read_prompts(*given, L))
    carried = jax.eval_shape(read, params, tokens, lengths)
    exported(read, params, tokens, lengths)
    numbers = decode.Sampling(0.8, 5, 0.9).as_arrays()
    for flags in ((True, True), (False, True), (False, False)):

        def draw(params, carried, rows, numbers, flags=flags):
            is_greedy, keeps_all = flags
            return decoder._draw_tokens(
                params,
                carried,
                rows,
                np.int32(0),
                numbers,
                is_greedy=is_greedy,
                keeps_all=keeps_all,
            )

        exported(draw, params, carried, (lengths,) * 3, numbers)
