"""SmolLM2-135M-Instruct learns the spelling of 1623, by LoRA and by full fine-tuning: python book/training/adapt.py"""

import copy
import time
from functools import partial

import pandas
import torch
import torch.nn.functional as F
from peft import LoraConfig, PeftModel, get_peft_model
from torch import nn

from slmkit import Decoder, interop, pretrained
from slmkit.course import comparison, finding
from slmkit.data import corpora
from slmkit.data.packages import FOLIO, plays
from slmkit.data.packing import TokenRow
from slmkit.data.tokenizer import Tokenizer
from slmkit.evaluation import bits_per_byte
from slmkit.profiling.calibrated import quantize_model

RANK, ALPHA, STEPS, ROWS, CONTEXT, SEEDS = 8, 16, 6, 2, 64, (0, 1, 2)
RATES = {"LoRA": (3e-3, 1e-3, 1e-2), "full": (1e-4, 3e-5, 3e-4)}  # the first is compared, the others are tried once


def packed(documents: list[str], tokenizer: Tokenizer) -> TokenRow:
    ids = [i for document in tokenizer.encode_documents(documents) for i in (*document, tokenizer.end_of_text)]
    return TokenRow(torch.tensor(ids), len("".join(documents).encode()), tokenizer.digest, tokenizer.vocab_size)


def texts(tokenizer: Tokenizer, length: int = 300) -> dict[str, TokenRow]:
    """Whole plays to learn from, and passages of `length` characters from other plays and from speeches."""
    folio = [play.text for play in plays() if play.edition == FOLIO]
    held_out = {"plays": folio[::6], "speeches": corpora.load("speeches").held_out[::3]}
    passages = {name: [text[len(text) // 2 :][:length] for text in some] for name, some in held_out.items()}
    documents = {"learn": [text for i, text in enumerate(folio) if i % 6]} | passages
    return {name: packed(some, tokenizer) for name, some in documents.items()}


def with_adapters(decoder: Decoder, rank: int = RANK, alpha: float = ALPHA) -> PeftModel:
    """A copy in transformers whose weights stand still, with a pair of matrices beside each linear layer."""
    config = LoraConfig(r=rank, lora_alpha=alpha, target_modules="all-linear")  # all but the head
    return get_peft_model(interop.to_transformers(decoder), config)


def fit(model: nn.Module, row: TokenRow, rate: float, seed: int, steps: int = STEPS) -> float:
    """Trains what has a gradient, the rate falling to zero; returns seconds of processor time."""
    trained = [p for p in model.parameters() if p.requires_grad]
    optimizer = torch.optim.AdamW(trained, rate, betas=(0.9, 0.95), weight_decay=0)
    schedule = torch.optim.lr_scheduler.LinearLR(optimizer, 1, 0, steps)
    batch, start = row.batches(ROWS, CONTEXT, seed), time.process_time()
    for step in range(steps):
        inputs, targets = batch(step)
        F.cross_entropy(model(inputs).logits.flatten(0, 1), targets.flatten()).backward()
        optimizer.step()
        optimizer.zero_grad()
        schedule.step()
    return time.process_time() - start


def merged(model: PeftModel) -> Decoder:
    """W + alpha / rank B A in place of W, as a Decoder again."""
    return interop.from_transformers(model.merge_and_unload())


def adapted(decoder: Decoder, method: str, rate: float, seed: int, row: TokenRow, steps: int) -> tuple[Decoder, dict]:
    """The decoder after training by a method, and what that took."""
    torch.manual_seed(seed)
    model = with_adapters(decoder) if method == "LoRA" else interop.to_transformers(decoder)
    parameters = sum(p.numel() for p in model.parameters() if p.requires_grad)
    seconds = fit(model, row, rate, seed, steps)
    after = merged(model) if method == "LoRA" else interop.from_transformers(model)
    return after, {"parameters": parameters, "cpu_s": seconds}


def stored(before: Decoder, after: Decoder, bits) -> dict[str, float]:
    """The change by LoRA: its rank, and what is left of it when the merged weights are stored in 16 bits, and in 4."""
    pairs = [(old, new) for old, new in zip(before.blocks.parameters(), after.blocks.parameters()) if old.ndim == 2]
    same = sum((old.bfloat16() == new.bfloat16()).sum().item() for old, new in pairs)
    ranks = [torch.linalg.matrix_rank(new - old, rtol=1e-3).item() for old, new in pairs[:7]]  # of the first block
    quantize_model(coarse := copy.deepcopy(after), "Q4_1")
    left = {"bf16": bits(copy.deepcopy(after).bfloat16().float()), "Q4_1": bits(coarse)}
    return left | {"unchanged": 100 * same / sum(old.numel() for old, _ in pairs), "rank": max(ranks)}


def compare(decoder: Decoder, rows: dict[str, TokenRow], steps: int = STEPS, seeds: tuple[int, ...] = SEEDS):
    """Both methods, and LoRA at the rate of full fine-tuning, over the seeds; then other rates on the first seed."""
    train = partial(adapted, decoder, row=rows["learn"], steps=steps)
    bits = {name: partial(bits_per_byte, row=row, context=CONTEXT, stride=CONTEXT) for name, row in rows.items()}
    before, table, left = {name: bits[name](decoder) for name in ("plays", "speeches")}, [], []
    rates = {method: some[0] for method, some in RATES.items()}
    arms = {
        "LoRA": ("LoRA", rates["LoRA"]),
        "LoRA, rate of full": ("LoRA", rates["full"]),
        "full": ("full", rates["full"]),
    }
    for seed in seeds:
        table.append({"arm": "published", "seed": seed, "parameters": 0, "cpu_s": 0.0} | before)
        for arm, (method, rate) in arms.items():
            after, cost = train(method, rate, seed)
            table.append({"arm": arm, "seed": seed} | cost | {name: bits[name](after) for name in before})
            print(table[-1], flush=True)
            if arm == "LoRA":
                left.append(stored(decoder, after, bits["plays"]))
    table, equal = pandas.DataFrame(table), f"{steps} steps of {ROWS} × {CONTEXT} tokens, their order"
    comparison("lora-plays", table.drop(columns="cpu_s"), "published", equal, "plays")
    comparison("lora-speeches", table.drop(columns="cpu_s"), "published", equal, "speeches")
    comparison("lora-full", table[table.arm != "published"], "full", equal, "plays")
    finding("lora-stored", "after LoRA", **{name: [one[name] for one in left] for name in left[0]})
    sizes = {name: len(row) for name, row in rows.items()}
    finding("lora-setting", rank=RANK, alpha=ALPHA, steps=steps, tokens=steps * ROWS * CONTEXT, **rates, **sizes)
    tried = {f"{method} {rate:g}": bits["plays"](train(method, rate, seeds[0])[0])
             for method, (_, *others) in RATES.items() for rate in others}  # fmt: skip
    finding("lora-rates", "bits per byte of the plays on the first seed, at other rates", **tried)


if __name__ == "__main__":
    torch.set_num_threads(1)
    published, its_tokenizer = pretrained.load()
    compare(published.float(), texts(its_tokenizer))
