#!/usr/bin/env bash
# The paper's whole study at demo size on the built-in, synthetic storyworld:
# pre-training of the Transformer and of the LSTM, zero-shot behaviour over it (Figure 2,
# right), Table 5's variants, the other tasks of Tables 2 to 4, layer transfer (Figure 2,
# left) and the report.
#
#     bash experiments/study.sh [DIRECTORY]
#
# 43 fine-tuning runs; about 20 minutes on 2 CPU cores. Running the command again resumes
# it. Expected on storyworld, which says nothing about English: pre-training raises the
# scores, more layers do not lower them, zero-shot scores rise during pre-training.
set -euo pipefail
study=${1:-runs/study}
main="python -m gpt1_jax.main --config"
sweep="python -m gpt1_jax.sweep --config"
from="--config.init.path=$study/pretrain"
# Longer than the demo, because zero-shot behaviour appears late.
longer="--config.train.max_steps=800 --config.train.keep_at_steps=25,50,100,200,400,600"
steps=--config.train.max_steps=100

$main experiments/pretrain.py $longer --workdir "$study/pretrain"
$main experiments/pretrain.py:lstm $longer --workdir "$study/pretrain-lstm"
$main experiments/zeroshot.py "$from" --workdir "$study/zeroshot"
$main experiments/zeroshot.py "$from-lstm" --workdir "$study/zeroshot-lstm"
$sweep experiments/ablations.py "$from" $steps --workdir "$study/ablations"
$sweep experiments/finetune.py:wnli "$from" $steps --workdir "$study/finetune" \
    --axis task.name=wnli,snli,scitail,race,storycloze
$sweep experiments/layer_transfer.py:rte "$from" $steps --workdir "$study/layer_transfer"
python -m gpt1_jax.report "$study" --output "$study/report"
