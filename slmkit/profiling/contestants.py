"""One training loop in a process of its own, which runs a few steps whenever `bench` says so and tells what they took.

    python -m slmkit.profiling.contestants NAME SIZE THREADS

A process each, so that no loop finds the caches, threads or global settings that another one left. Every contestant
starts from the same weights and reads the same batches, with the same optimizer at one constant learning rate.
"""

import json
import os
import sys
import tempfile
import time

import torch
import torch.nn.functional as F
from torch import nn

from slmkit.config import ModelConfig
from slmkit.data.packing import Batches, TokenData
from slmkit.data.prepared import prepare
from slmkit.evaluation.bits import bits_per_byte
from slmkit.model.counting import flops_per_token
from slmkit.model.decoder import Decoder
from slmkit.training.config import TrainingConfig
from slmkit.training.trainer import WORTH_COMPILING, train

CORPUS, VOCAB = "speeches", 2048
BATCH, CONTEXT = 16, 128
RATE, DECAY, BETA2, CLIP = 1e-3, 0.1, 0.95, 1.0
HELD_OUT_TOKENS = 16_384
SHAPES = dict(
    tiny=dict(d_model=32, n_layers=1, n_heads=2),  # for the tests of the benchmark itself
    small=dict(d_model=128, n_layers=4, n_heads=4),
    large=dict(d_model=256, n_layers=6, n_heads=8),
)


def decoder(size: str) -> Decoder:
    """The model of that size, with the weights that all contestants begin with."""
    torch.manual_seed(0)
    return Decoder(ModelConfig(vocab_size=VOCAB, max_context=512, **SHAPES[size]))


def settings(config: ModelConfig, **options) -> TrainingConfig:
    """A run long enough to repay compiling, of which the benchmark takes the first steps."""
    steps = 1 + int(WORTH_COMPILING / (flops_per_token(config, CONTEXT, "training") * BATCH * CONTEXT))
    return TrainingConfig(
        steps, BATCH, CONTEXT, learning_rate=RATE, schedule="constant", warmup=0, weight_decay=DECAY, beta2=BETA2,
        clip=CLIP, **options,
    )  # fmt: skip


class Finished(Exception):
    """The benchmark needs no more steps."""


class Baton:
    """Holds a loop until the benchmark asks for steps; after them it answers with their wall and CPU seconds."""

    def __init__(self, answer):
        self.answer = answer

    def wait(self):
        if not (line := sys.stdin.readline().strip()):
            raise Finished
        self.left, self.started = int(line), (time.perf_counter(), time.process_time())

    def step(self, *_):
        self.left -= 1
        if not self.left:
            self.answer([time.perf_counter() - self.started[0], time.process_time() - self.started[1]])
            self.wait()


# -- the contestants: each trains the model in place until the baton raises Finished ---------------------------------


def slmkit(model: Decoder, data: TokenData, baton: Baton, **options):
    train(model, data, settings(model.config, **options), progress=False, on_step=baton.step)


def slmkit_eager(model: Decoder, data: TokenData, baton: Baton):
    slmkit(model, data, baton, precision="fp32", compile=False)


def bare_loop(model, data: TokenData, baton: Baton):
    """What one writes by hand around LlamaForCausalLM, in fp32."""
    batches, step = Batches(data.train, BATCH, CONTEXT), 0
    groups = [
        {"params": [p for p in model.parameters() if p.dim() >= 2], "weight_decay": DECAY},
        {"params": [p for p in model.parameters() if p.dim() < 2], "weight_decay": 0.0},
    ]
    optimizer = torch.optim.AdamW(groups, lr=RATE, betas=(0.9, BETA2), fused=True)
    model.train()
    while True:
        inputs, targets = batches(step)
        logits = model(inputs, use_cache=False).logits
        F.cross_entropy(logits.flatten(0, 1), targets.flatten()).backward()
        nn.utils.clip_grad_norm_(model.parameters(), CLIP)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        step += 1
        baton.step()


def trainer(model, data: TokenData, baton: Baton, **options):
    """transformers.Trainer; `options` go to its TrainingArguments."""
    from transformers import Trainer, TrainerCallback, TrainingArguments

    batches = Batches(data.train, BATCH, CONTEXT)

    class Rows(torch.utils.data.Dataset):
        def __len__(self):
            return 10**9  # more than any benchmark reads, so that no epoch ends

        def __getitem__(self, i: int) -> dict:
            inputs, targets = batches(i // BATCH, slice(i % BATCH, i % BATCH + 1))
            return {"input_ids": inputs[0], "labels": targets[0], "shift_labels": targets[0]}  # the targets as they are

    class Steps(TrainerCallback):
        def on_step_end(self, *_, **__):
            baton.step()

    with tempfile.TemporaryDirectory(dir=os.environ["TORCHINDUCTOR_CACHE_DIR"]) as folder:
        arguments = TrainingArguments(
            folder, max_steps=10**6, per_device_train_batch_size=BATCH, learning_rate=RATE, weight_decay=DECAY,
            adam_beta2=BETA2, max_grad_norm=CLIP, lr_scheduler_type="constant", train_sampling_strategy="sequential",
            save_strategy="no", report_to="none", disable_tqdm=True, use_cpu=True,
            remove_unused_columns=False,  # else it drops shift_labels and predicts a token less in each row
            **options,
        )  # fmt: skip
        Trainer(model, arguments, train_dataset=Rows(), callbacks=[Steps()]).train()


def trainer_fast(model, data: TokenData, baton: Baton):
    trainer(model, data, baton, bf16=True, torch_compile=True)


CONTESTANTS = {loop.__name__: loop for loop in (slmkit, slmkit_eager, bare_loop, trainer, trainer_fast)}
OURS = ("slmkit", "slmkit_eager")


def main(name: str, size: str, threads: str):
    # Answers go where stdout was; whatever a library prints goes to stderr.
    pipe = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)

    def answer(value):
        print(json.dumps(value), file=pipe, flush=True)

    torch.set_num_threads(int(threads))
    _, data = prepare(CORPUS, VOCAB)
    model = decoder(size)
    if name not in OURS:
        from slmkit import interop

        model = interop.to_transformers(model)
    baton = Baton(answer)
    answer("ready")
    try:
        baton.wait()
        CONTESTANTS[name](model, data, baton)
    except Finished:
        ours = model if name in OURS else interop.from_transformers(model)
        answer(bits_per_byte(ours, data.held_out, CONTEXT, max_tokens=HELD_OUT_TOKENS))


if __name__ == "__main__":
    main(*sys.argv[1:])
