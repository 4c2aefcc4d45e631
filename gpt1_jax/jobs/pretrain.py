"""Pre-training of a language model on books (Radford et al. 2018, Sec. 3.1, 4.1)."""

import functools
import shlex
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import jax
import numpy as np
from ml_collections import ConfigDict

from gpt1_jax import config as config_lib
from gpt1_jax import terminal
from gpt1_jax.config import STORYWORLD, RunConfig
from gpt1_jax.data.text import corpus, preparation
from gpt1_jax.distributed import memory, mesh, multihost, preemption
from gpt1_jax.errors import UserError
from gpt1_jax.evaluation import perplexity
from gpt1_jax.inference import language_model
from gpt1_jax.models import backbone
from gpt1_jax.training import loop, losses, optim
from gpt1_jax.training import step as step_lib
from gpt1_jax.workdirs import checkpoint, metrics_log, session, starting_point
from gpt1_jax.workdirs import workdir as workdir_lib


@multihost.ends_together
def run(
    config: RunConfig | ConfigDict, workdir: str | Path = "runs/pretrain"
) -> dict[str, Any]:
    """Starts or resumes pre-training in `workdir`; returns its result.json.

    In order: check the config; prepare the corpus; build; restore, initialise or take
    over a model; train and evaluate; show samples; write result.json. A finished run
    only reports its result.
    With config.init.path, pre-training goes on from the model there: architecture and
    tokenizer come from it, optimizer and schedule begin anew, and the model is
    evaluated before the first step.
    Raises: UserError, NotFound: an impossible config, no corpus, a workdir of
            another run. RunFailed, Preempted: see training.loop.fit.
    """
    began = time.monotonic()
    config, workdir = config_lib.checked(config), Path(workdir)
    session.prepare_training(config, workdir)
    config = starting_point.with_inherited(config, workdir)
    if result := session.finished_result(workdir, config):
        starting_point.check_unchanged(config, workdir)
        terminal.say(f"{workdir} is finished: {_summary(result['metrics'])}")
        return result
    session.announce(config, workdir)
    memory.check_training(
        config,
        vocab_size=1,  # known only after the books are prepared, which may take hours
        sequences=config.train.batch_size,
        length=config.model.context_length,
    )
    with multihost.first_before_others("the corpus was prepared"):
        store = starting_point.open_corpus(config, workdir)
    terminal.say(preparation.describe(store))
    if config.data.corpus != STORYWORLD:
        for warning in preparation.warnings(store):
            terminal.warn(warning)
    is_inherited = config.init.path != "none"
    if store.meta["vocab_size"] != config.data.vocab_size and not is_inherited:
        terminal.warn(
            f"the corpus has its own tokenizer, of {store.meta['vocab_size']:,} "
            f"entries; config.data.vocab_size={config.data.vocab_size:,} has no effect"
        )
    pretraining = _Pretraining(config, store)
    result = session.complete(
        workdir,
        config,
        lambda: pretraining.train(workdir),
        total_steps=pretraining.total_steps,
        began=began,
    )
    terminal.say(_summary(result["metrics"]))
    terminal.say(
        "next: python -m gpt1_jax.generate --checkpoint "
        f"{shlex.quote(str(workdir))} --prompt 'Once upon'"
    )
    return result


def _summary(metrics: dict[str, float]) -> str:
    parts = [f"held-out perplexity {metrics['eval/perplexity']:.2f}"]
    if "first_eval/perplexity" in metrics:
        first = metrics["first_eval/perplexity"]
        parts.append(f"before the first step {first:.2f}")
    parts.append(f"unigram baseline {metrics['eval/unigram_perplexity']:.1f}")
    return "; ".join(parts)


class _Pretraining:
    """The model, the training step and the data of one run, on all devices."""

    def __init__(self, config: RunConfig, store: corpus.TokenStore):
        self.config, self.store = config, store
        train, length = config.train, config.model.context_length
        if config.data.windows == "document":
            self.windows_before = corpus.count_document_windows(
                store.train_offsets, length
            )
            per_epoch = int(self.windows_before[-1])
        else:
            per_epoch = corpus.windows_per_epoch(len(store.train_tokens), length)
        self.total_steps = (
            train.max_steps or per_epoch * train.epochs // train.batch_size
        )
        if not any(len(book) > 1 for book in store.eval_books):
            raise UserError(
                "no held-out book has 2 tokens; at least one must have them; add text "
                "or name other books with config.data.eval_corpus"
            )
        if self.total_steps < 1:
            raise UserError(
                f"config.train.epochs={train.epochs} of {per_epoch} windows fill no "
                f"batch of {train.batch_size}; lower batch_size or set max_steps"
            )
        memory.check_training(
            config,
            vocab_size=store.meta["vocab_size"],
            sequences=train.batch_size,
            length=length,
        )
        self.mesh = mesh.make_mesh()
        self.model = backbone.make(
            mesh.resolve_dtype(config.model),
            store.meta["vocab_size"],
            remat=train.remat,
        )
        self.schedule = optim.make_schedule(config.optim, self.total_steps)
        self.tx = optim.make_optimizer(config.optim, self.total_steps)
        self.fingerprint = {
            "corpus": store.fingerprint,
            "tokenizer": store.tokenizer.fingerprint,
            "config": config_lib.fingerprint(config),
        } | starting_point.facts(config)

    def train(self, workdir: Path) -> dict[str, float]:
        """Trains to the end, from the newest checkpoint if there is one."""
        cfg = self.config.train
        init = step_lib.make_init(
            functools.partial(backbone.init_params, self.model), self.tx
        )
        like = session.state_like(init, self.mesh, self.config.mesh)
        terminal.say(
            f"model: {session.num_parameters(like.params):,} parameters; "
            f"{self.total_steps:,} steps of {cfg.batch_size} x "
            f"{self.config.model.context_length} tokens"
        )
        with session.begin(
            workdir,
            self.config,
            make_state=functools.partial(self._initial_state, init, like),
            like=like,
            fingerprint=self.fingerprint,
            keeps_best=cfg.keeps_best,
        ) as run:
            if multihost.is_first():
                workdir_lib.begin(workdir, self.config, self.store.tokenizer)
            job = self._job(like, run)
            end = loop.fit(run.state, job, cfg, run.log)
            step, params = int(end.step), end.params
            best = run.checkpoints.best_step() if cfg.keeps_best else None
            if best is not None:
                params = run.checkpoints.restore_params(best, like.params)
            shown = self._show_samples(params, step if best is None else best)
            run.log.write_text(step, "samples", shown)
            rows = run.log.rows
            scores = metrics_log.scores(rows[-1])
            if best is not None:
                evaluate = functools.partial(job.evaluate, params)
                scores = metrics_log.best_and_last(rows, best, evaluate)
        unigram = corpus.unigram_perplexity(self.store)
        scores |= metrics_log.first_scores(rows)
        return scores | {"eval/unigram_perplexity": unigram}

    def _initial_state(
        self,
        init: Callable[[np.uint32], step_lib.TrainState],
        like: step_lib.TrainState,
    ) -> step_lib.TrainState:
        """Returns a fresh state, with the parameters that config.init names."""
        shardings = session.shardings_of(like)
        fresh = jax.jit(init, out_shardings=shardings)(np.uint32(self.config.seed))
        if self.config.init.path == "none":
            return fresh
        return starting_point.state(self.config, fresh, shardings.params)

    def _job(self, like: step_lib.TrainState, run: session.Session) -> loop.Job:
        """Compiles the step; returns the functions that the loop calls."""
        cfg = self.config.train
        began = time.monotonic()
        train_step = step_lib.make_train_step(
            self._loss(is_train=True),
            self.tx,
            self.schedule,
            accumulation_steps=cfg.accumulation_steps,
        )
        batch_like = checkpoint.abstract(
            self._batch_at(0), mesh.batch_sharding(self.mesh)
        )
        jitted = mesh.jit_step(train_step, self.mesh, session.shardings_of(like))
        compiled = step_lib.CompiledStep(jitted, np.uint32(self.config.seed))
        compiled.compile(like, batch_like)
        terminal.say(f"compiled in {terminal.duration(time.monotonic() - began)}")
        eval_step = jax.jit(
            perplexity.make_eval_step(self._loss(is_train=False)),
            in_shardings=(
                session.shardings_of(like.params),
                mesh.batch_sharding(self.mesh),
            ),
            out_shardings=mesh.replicated(self.mesh),
        )

        def scores(params: Any) -> dict[str, float]:
            means = perplexity.mean_metrics(eval_step, params, self._eval_batches())
            return {
                "eval/loss": means["loss"],
                "eval/perplexity": perplexity.perplexity(means["loss"]),
            }

        return loop.Job(
            train_step=run.profile.traced(compiled, self.total_steps),
            batch_at=self._batch_at,
            evaluate=scores,
            save=run.save,
            total_steps=self.total_steps,
            eval_steps=() if self.config.init.path == "none" else (0,),
            tokens_at=lambda step: int(self._windows(step)[1].sum()),
            best_by="eval/loss",
            is_lower_better=True,
            keeps_best=cfg.keeps_best,
            set_score=run.checkpoints.set_score,
            contents=lambda step: {"window_starts": self._windows(step)[0].tolist()},
        )

    def _loss(self, *, is_train: bool) -> losses.LossFn:
        loss_fn = losses.make_lm_loss(
            self.model,
            is_train=is_train,
            chunk_elements=mesh.logits_chunk_elements(),
        )
        return mesh.with_replicated_params(loss_fn, self.mesh)

    def _batch_at(self, step: int) -> corpus.LMBatch:
        """Returns the sharded batch of a training step; each process loads its rows."""
        rows = mesh.local_rows(self.config.train.batch_size)
        length = self.config.model.context_length
        starts_B, num_targets_B = self._windows(step)
        batch = corpus.train_batch(
            self.store.train_tokens, starts_B, length, rows, num_targets_B=num_targets_B
        )
        return mesh.shard_rows(batch, self.mesh)

    def _windows(self, step: int) -> tuple[np.ndarray, np.ndarray]:
        """Returns starts_B and num_targets_B of the windows of a training step."""
        shape = {
            "context_length": self.config.model.context_length,
            "batch_size": self.config.train.batch_size,
            "seed": self.config.seed,
            "step": step,
        }
        if self.config.data.windows == "document":
            offsets = self.store.train_offsets
            return corpus.document_windows(offsets, self.windows_before, **shape)
        starts_B = corpus.window_starts(len(self.store.train_tokens), **shape)
        return starts_B, np.full_like(starts_B, shape["context_length"])

    def _eval_batches(self) -> Iterator[corpus.LMBatch]:
        batch_size = mesh.padded_to_devices(self.config.train.eval_batch_size)
        rows = mesh.local_rows(batch_size)
        length = self.config.model.context_length
        shape = (self.store.eval_books, length, batch_size)
        total = corpus.num_eval_batches(*shape)
        with terminal.progress("evaluating", total, unit="batches") as bar:
            for batch in preemption.interruptible(corpus.eval_batches(*shape)):
                local = corpus.LMBatch(*(x[rows] for x in batch))
                yield mesh.shard_rows(local, self.mesh)
                bar.advance()

    def _show_samples(self, params: Any, step: int) -> str:
        """Prints continuations of held-out text, and returns what it printed."""
        model = language_model.LanguageModel(
            self.config, self.model, params, self.store.tokenizer, step
        )
        books = self.store.eval_books
        half = self.config.model.context_length // 2
        prompts = [
            book[max(0, min(n * half, len(book) - half)) :][: min(half, 16)]
            for n, book in enumerate(books[i % len(books)] for i in range(3))
        ]
        samples = model.continue_ids(
            prompts, min(half, 40), temperature=0.8, seed=self.config.seed
        )
        lines = ["samples (prompt | continuation):"]
        for prompt, text in zip(prompts, samples, strict=True):
            shown = f"{self.store.tokenizer.decode(prompt.tolist())} |{text}"
            lines.append("  " + shown.replace("\n", " / "))
        terminal.say("\n".join(lines))
        return "\n\n".join(lines)
