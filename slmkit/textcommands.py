"""`slmkit train` and `slmkit generate`: from text to a model, and from a model to text."""

import json
import os
import sys
from collections.abc import Iterator, Mapping
from dataclasses import asdict, replace
from pathlib import Path

import torch

from slmkit import pretrained
from slmkit.commands import write_json
from slmkit.data import corpora
from slmkit.data.tokenizer import Tokenizer
from slmkit.model import storage
from slmkit.model.counting import count_parameters
from slmkit.model.decoder import Decoder
from slmkit.model.generation import stream
from slmkit.pretrained import chat_prompt
from slmkit.profiling.machine import crowded
from slmkit.training import mup
from slmkit.training import train as run_training
from slmkit.training.distillation import distillation, same_vocabulary
from slmkit.training.recipe import Recipe

RUN = "run.json"  # beside the checkpoints: the options that made them
MAKES_THE_RUN = ("corpus", "vocab", "d_model", "layers", "heads", "kv_heads", "steps", "batch", "context",
                 "learning_rate", "schedule", "precision", "seed")  # fmt: skip


# -- train -----------------------------------------------------------------------------------------------------------


def train(options):
    """Trains a decoder, or goes on with the run in the folder, and saves the model with its tokenizer there."""
    folder, device = Path(options.out), chosen_device(options.device)
    if options.config and not Path(options.config).is_file():
        raise FileNotFoundError(f"there is no file {options.config}; a recipe is a TOML file: slmkit train --help")
    recipe = Recipe.read(options.config) if options.config else recipe_of(options)
    save_every = {"checkpoint_every": options.save_every, "evaluate_every": options.save_every}
    training, run = replace(recipe.training, **save_every), run_of(options, recipe)
    check_same_run(folder, run)
    loaded = {name: corpora.load(source) for name, source in recipe.sources.items()}
    config, tokenizer, data = recipe.prepare(loaded)
    objective = taught_by(recipe.teacher, tokenizer, device) if recipe.teacher else None
    torch.manual_seed(training.seed)
    model = mup.decoder(config, training.mup_base) if training.mup_base else Decoder(config)
    model, parameters = model.to(device), count_parameters(config).total
    first = os.environ.get("RANK", "0") == "0"  # of the processes that torchrun started; it speaks and writes for all
    if first:
        if device.type == "cpu" and (others := crowded(torch.get_num_threads())):
            print(others, file=sys.stderr)
        print(*loaded.values(), sep="\n")
        print(f"{parameters:,} parameters, vocabulary {tokenizer.vocab_size}, {training.steps} steps of "
              f"{training.tokens_per_step:,} tokens on {device.type}", flush=True)  # fmt: skip
        folder.mkdir(parents=True, exist_ok=True)
        write_json(folder / RUN, run)
    history = run_training(model, data, training, folder, objective=objective)
    if not first:
        return
    storage.save(model, folder, tokenizer)
    print(history.summary())
    print(f"saved in {folder}; try: slmkit generate --model {folder} --prompt 'The '")


def taught_by(said: Mapping, tokenizer: Tokenizer, device: torch.device):
    """The objective with a teacher, as [teacher] of a file says."""
    options = dict(said)
    teacher, its_tokenizer = load_model(options.pop("model"))
    same_vocabulary(tokenizer, its_tokenizer)
    return distillation(teacher.to(device), **options)


def recipe_of(options) -> Recipe:
    """What the options say, as a file would say it."""
    training = {"batch_size": options.batch} | {
        name: getattr(options, name) for name in ("context", "learning_rate", "schedule", "precision", "seed")
    }
    model = {"d_model": options.d_model, "n_layers": options.layers, "n_heads": options.heads}
    if options.kv_heads is not None:
        model["n_kv_heads"] = options.kv_heads
    return Recipe.of({
        "model": model, "training": training, "stage": [{"steps": options.steps}],
        "data": {"vocab_size": options.vocab, "sources": {"text": options.corpus}},
    })  # fmt: skip


def run_of(options, recipe: Recipe) -> dict:
    """What makes the run: the options, or all that the file said, defaults included."""
    if not options.config:
        return {name: getattr(options, name) for name in MAKES_THE_RUN}
    for name in MAKES_THE_RUN:
        if getattr(options, name) != options.parser.get_default(name):
            raise ValueError(
                f"--{name.replace('_', '-')} and --config exclude each other; write it in {options.config}"
            )
    return json.loads(json.dumps(asdict(recipe)))


def check_same_run(folder: Path, run: dict):
    """Raises ValueError when `folder` holds another run, naming the first thing that differs."""
    path = folder / RUN
    if not path.is_file():
        if folder.exists() and not folder.is_dir():
            raise NotADirectoryError(f"--out {folder} is a file; give a folder")
        if (folder / storage.WEIGHTS).exists():
            raise ValueError(f"{folder} already holds a model that `slmkit train` did not make; choose another --out")
        return
    try:
        before = dict(json.loads(path.read_text(encoding="utf-8")))
    except (ValueError, TypeError):
        raise ValueError(f"{path} is damaged; choose another --out or delete the folder") from None
    for name, value in run.items():
        if before.get(name) != value:
            what = name if "stages" in run else "--" + name.replace("_", "-")
            raise ValueError(
                f"{folder} holds a run with {what} {before.get(name)}, not {value}; give the same to go on with it, or "
                "another --out"
            )


def chosen_device(name: str) -> torch.device:
    there = {"cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available(), "cpu": True}
    if name == "auto":
        name = next(kind for kind, here in there.items() if here)
    if not there[name]:
        raise ValueError(f"--device {name}: PyTorch finds none here; use --device cpu")
    # Each process that torchrun started on a machine has a card of its own.
    return torch.device(name, int(os.environ.get("LOCAL_RANK", "0"))) if name == "cuda" else torch.device(name)


# -- generate --------------------------------------------------------------------------------------------------------


def generate(options):
    """Continues a text or answers in a conversation, and prints the words as they come."""
    if options.prompt is None and not options.chat:
        raise ValueError("--prompt is missing; give the text to continue, or --chat for a conversation")
    model, tokenizer = load_model(options.model)
    if not options.chat:
        ids = tokenizer.encode(options.prompt) or [tokenizer.end_of_text]
        print(options.prompt, end="", flush=True)
        say(model, tokenizer, ids, [tokenizer.end_of_text], options)
        return
    if options.prompt is not None:
        answer(model, tokenizer, [{"role": "user", "content": options.prompt}], options)
        return
    converse(model, tokenizer, options)


def load_model(name: str) -> tuple[Decoder, Tokenizer]:
    """The model in the folder `name`, or the pretrained one of that name. Raises ValueError or FileNotFoundError."""
    folder = Path(name)
    if folder.is_dir():
        return storage.load(folder).eval(), Tokenizer.load(folder / storage.TOKENIZER)
    if name == pretrained.NAME:
        return pretrained.load()
    raise FileNotFoundError(f"there is no folder {name}; give one that `slmkit train` wrote, or {pretrained.NAME}")


def converse(model: Decoder, tokenizer: Tokenizer, options):
    """Question and answer until the end of input. The oldest exchange is forgotten when the context is full."""
    print(f"{options.model}: ask something; Ctrl-D ends.", file=sys.stderr)
    messages = []
    while True:
        try:
            question = input("> " if sys.stdin.isatty() else "").strip()
        except EOFError:
            print()
            return
        if question:
            messages.append({"role": "user", "content": question})
            while (
                len(messages) > 1 and room(model, pretrained.chat_prompt(messages, tokenizer)) < options.max_new_tokens
            ):
                del messages[:2]
            messages.append({"role": "assistant", "content": answer(model, tokenizer, messages, options)})


def answer(model: Decoder, tokenizer: Tokenizer, messages: list[dict], options) -> str:
    ids = chat_prompt(messages, tokenizer)
    return say(model, tokenizer, ids, pretrained.stop_tokens(tokenizer), options)


def room(model: Decoder, ids: list[int]) -> int:
    """How many tokens may follow `ids`; the last one is never read, so it needs no place in the context."""
    return model.config.max_context - len(ids) + 1


def say(model: Decoder, tokenizer: Tokenizer, ids: list[int], stops: list[int], options) -> str:
    """Prints the continuation of `ids` piece by piece, then a line end; returns it."""
    if room(model, ids) < 1:
        raise ValueError(f"the text has {len(ids)} tokens and the model reads {model.config.max_context}; shorten it")
    tokens = stream(model, [ids], min(options.max_new_tokens, room(model, ids)), temperature=options.temperature,
                    top_k=options.top_k, top_p=options.top_p, stop_tokens=stops, seed=options.seed)  # fmt: skip
    said = []
    for piece in pieces(tokenizer, (int(token) for token in tokens), stops):
        print(piece, end="", flush=True)
        said.append(piece)
    print()
    return "".join(said)


def pieces(tokenizer: Tokenizer, tokens: Iterator[int], stops: list[int]) -> Iterator[str]:
    """The text of `tokens` as it becomes readable: a character may be spread over several tokens."""
    waiting = []
    for token in tokens:
        if token in stops:
            break
        waiting.append(token)
        text = tokenizer.decode(waiting)
        if not text.endswith("\N{REPLACEMENT CHARACTER}"):  # else the last character is not complete
            yield text
            waiting = []
    if waiting:
        yield tokenizer.decode(waiting)
