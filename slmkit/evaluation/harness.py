"""The model class `slmkit` of lm-eval, the standard evaluation harness (Gao et al. 2024): its tasks, our models.

    lm_eval --model slmkit --model_args path=FOLDER --tasks hellaswag

FOLDER was written by `slmkit train` or slmkit.save, or holds weights in transformers' format; `smollm2` is the
pretrained model. lm-eval 0.4.13 looks for models in its own source alone, so slmkit installs a command `lm_eval` of its
own: lm-eval's, with one model more. `python -m slmkit.evaluation.harness` is the same.
"""

import json
import logging
import sys
from collections import defaultdict
from collections.abc import Sequence
from functools import cache, partial
from pathlib import Path
from typing import TYPE_CHECKING

import torch

from slmkit.data.tokenizer import END_OF_TEXT, Tokenizer
from slmkit.evaluation.answers import written
from slmkit.evaluation.multiple_choice import token_loglikelihoods
from slmkit.model import storage
from slmkit.model.decoder import Decoder
from slmkit.model.generation import left_pad, stream

if TYPE_CHECKING:
    from lm_eval.api.instance import Instance
    from transformers import PreTrainedTokenizerBase

NEVER = (float("-inf"), False)  # what cannot be scored is never chosen
logger = logging.getLogger("lm_eval.slmkit")  # lm-eval prints what is said below its own name


class Refused(ValueError):
    """The model cannot be had as asked; the command says so in one line."""


class Model:
    """What lm-eval asks of a model; `model_class` joins it with lm-eval's base class.

    `path`: a folder, or smollm2. Instead of it, a Decoder as `model` with its `tokenizer`. `max_length`: tokens that
    the model may see, at most and by default its context. `prefix_token_id`: what stands before a text without
    context; by default as lm-eval has it, the token that begins a text, else the one that ends it.
    """

    def __init__(self, path: str | None = None, *, model: Decoder | None = None,
                 tokenizer: "Tokenizer | PreTrainedTokenizerBase | None" = None, batch_size: int | str = 8,
                 device: str | None = None, dtype: str = "float32", max_length: int | None = None,
                 prefix_token_id: int | None = None, max_batch_size=None, **unknown):  # fmt: skip
        super().__init__()
        try:
            if unknown:
                raise ValueError(f"there is no option {min(unknown)}; give path=FOLDER or path=smollm2")
            if dtype not in ("float32", "bfloat16"):
                raise ValueError(f"dtype is {dtype!r}; it is float32 or bfloat16")
            if model is None:
                model, tokenizer, stops = read(path)
            else:
                stops = []
            self.tokenizer = for_transformers(tokenizer) if isinstance(tokenizer, Tokenizer) else tokenizer
        except (ValueError, OSError) as error:
            raise Refused(" ".join(str(error).split())) from error
        # lm-eval names cuda:0 when nobody chose a device, so that is no wish; its `hf` takes the processor then too.
        self._device = torch.device(device if device and torch.cuda.is_available() else "cpu")
        self.model = model.to(self._device, getattr(torch, dtype)).eval()
        self.stops = {self.eot_token_id, *stops}
        self.batch_size = 8 if str(batch_size).startswith("auto") else int(batch_size)
        self.max_length = min(max_length or model.config.max_context, model.config.max_context)
        self._prefix, self.said = prefix_token_id, set()

    # -- text and tokens

    @property
    def eot_token_id(self) -> int:
        return self.tokenizer.eos_token_id

    @property
    def prefix_token_id(self) -> int:
        begin = self.tokenizer.bos_token_id
        return next(token for token in (self._prefix, begin, self.eot_token_id) if token is not None)

    def tok_encode(self, string: str, add_special_tokens: bool | None = None, **_) -> list[int]:
        """As lm-eval's `hf` does it: with what the tokenizer adds, unless the text begins with it already."""
        if add_special_tokens is None:
            add_special_tokens = not string.startswith(self.tokenizer.decode([self.prefix_token_id]))
        return self.tokenizer.encode(string, add_special_tokens=add_special_tokens)

    @property
    def tokenizer_name(self) -> str:
        return self.tokenizer.name_or_path

    def apply_chat_template(self, chat_history: list[dict], add_generation_prompt: bool = True) -> str:
        """As lm-eval's `hf` does it: without the system message where the template refuses one."""
        from jinja2 import TemplateError

        if not self.tokenizer.chat_template:
            raise Refused("the model's tokenizer has no chat template; give a folder whose tokenizer has one, or leave "
                          "--apply_chat_template away")  # fmt: skip
        fill = partial(self.tokenizer.apply_chat_template, tokenize=False, add_generation_prompt=add_generation_prompt,
                       continue_final_message=not add_generation_prompt)  # fmt: skip
        try:
            return fill(chat_history)
        except TemplateError:
            return fill([message for message in chat_history if message["role"] != "system"])

    # -- what is wrong with an item

    def _speak(self, request: "Instance", what: str):
        """One line that names the item, once."""
        if (line := f"{request.task_name}, item {request.doc_id}: {what}") not in self.said:
            self.said.add(line)
            logger.warning(line)

    def _speak_of_twins(self, requests: Sequence["Instance"]):
        """A line for an item with two choices that are the same: no score can tell which is meant."""
        first = {}
        for request in requests:
            twin = first.setdefault((request.task_name, request.doc_id, request.args), request.idx)
            if twin != request.idx and request.args[1]:
                self._speak(request, f"choices {twin + 1} and {request.idx + 1} are the same; the first counts")

    # -- likelihoods

    def loglikelihood(self, requests: Sequence["Instance"], disable_tqdm: bool = False) -> list[tuple[float, bool]]:
        """For each (context, continuation): log p(continuation | context), and whether greedy decoding writes it."""
        self._speak_of_twins(requests)
        pairs = {}
        for place, request in enumerate(requests):
            if (pair := self._pair(request)) is not None:
                pairs[place] = pair
        found = [NEVER] * len(requests)
        for place, answer in zip(pairs, self._loglikelihood_tokens(list(pairs.values())), strict=True):
            found[place] = answer
            self.cache_hook.add_partial("loglikelihood", requests[place].args, answer)
        return found

    def _pair(self, request: "Instance") -> tuple[list[int], list[int]] | None:
        """Context and continuation in tokens, cut at the left to fit; None when there is nothing to score."""
        context, continuation = request.args
        if not continuation:
            return self._speak(request, f"choice {request.idx + 1} is empty; it counts as never chosen")
        missing = [name for name, value in (request.doc or {}).items() if value is None]
        if missing and "None" in context + continuation:  # lm-eval's templates write it in the field's place
            self._speak(request, f"the field {missing[0]} is missing; the word None stands in its place")
        if context.strip():
            before, after = self._encode_pair(context, continuation)
        else:
            before, after = [self.prefix_token_id], self.tok_encode(context + continuation, add_special_tokens=False)
            if after[0] == before[0]:
                after = after[1:]
        if len(after) > self.max_length:
            return self._speak(request, f"choice {request.idx + 1} has {len(after):,} tokens and the context holds "
                         f"{self.max_length:,}; it counts as never chosen")  # fmt: skip
        # The last token is predicted and never read, so one more than the context holds has its place.
        if (over := len(before) + len(after) - self.max_length - 1) > 0:
            self._speak(request, f"{len(before) + len(after):,} tokens are more than the context of "
                        f"{self.max_length:,}; the first {over:,} are left out")  # fmt: skip
            before = before[over:]
        return before, after

    def _loglikelihood_tokens(self, requests: Sequence[tuple[list[int], list[int]]], **_) -> list[tuple[float, bool]]:
        found = token_loglikelihoods(self.model, requests, batch_size=self.batch_size)
        return [(one.logprob, one.greedy) for one in found]

    def loglikelihood_rolling(self, requests: Sequence["Instance"], disable_tqdm: bool = False) -> list[float]:
        """log p(text) for each (text,), in windows that do not overlap where it is longer than the context."""
        from lm_eval.utils import get_rolling_token_windows, make_disjoint_window

        windows, sums = [], [0.0] * len(requests)
        for place, request in enumerate(requests):
            tokens = self.tok_encode(request.args[0])
            if not tokens:
                self._speak(request, "the text is empty")
            cut = get_rolling_token_windows(tokens, self.prefix_token_id, self.max_length, context_len=1)
            windows += [(place, make_disjoint_window(window)) for window in cut]
        answers = self._loglikelihood_tokens([window for _, window in windows])
        for (place, _), (value, _) in zip(windows, answers, strict=True):
            sums[place] += value
        for request, value in zip(requests, sums, strict=True):
            self.cache_hook.add_partial("loglikelihood_rolling", request.args, value)
        return sums

    # -- generation

    def generate_until(self, requests: Sequence["Instance"], disable_tqdm: bool = False) -> list[str]:
        """For each (context, settings): what the model writes up to the first of the strings in settings["until"]."""
        groups = defaultdict(list)
        for place, request in enumerate(requests):
            ids = self.tok_encode(request.args[0]) or [self.prefix_token_id]
            groups[json.dumps(request.args[1], sort_keys=True)].append((ids, place))
        texts = [""] * len(requests)
        for settings, members in groups.items():
            members.sort(key=lambda member: -len(member[0]))
            for start in range(0, len(members), self.batch_size):
                ids, places = zip(*members[start : start + self.batch_size], strict=True)
                found = self._written(ids, json.loads(settings), [requests[place] for place in places])
                for place, text in zip(places, found, strict=True):
                    texts[place] = text
                    self.cache_hook.add_partial("generate_until", requests[place].args, text)
        return texts

    def _written(self, rows: Sequence[list[int]], settings: dict, requests: list["Instance"]) -> list[str]:
        """One batch; it ends when every row has met one of its ends, or has `max_gen_toks` tokens."""
        from lm_eval.models.utils import normalize_gen_kwargs

        wanted = normalize_gen_kwargs(settings, default_max_gen_toks=256)
        until, new, sampled = [end for end in wanted["until"] if end], wanted["max_gen_toks"], wanted["do_sample"]
        room = self.max_length - new if new < self.max_length else self.max_length // 2
        for ids, request in zip(rows, requests, strict=True):
            if len(ids) > room:
                self._speak(request, f"{len(ids):,} tokens and {new:,} new ones are more than the context of "
                      f"{self.max_length:,}; the first {len(ids) - room:,} are left out")  # fmt: skip
        ids, padding = left_pad([ids[-room:] for ids in rows], self.eot_token_id)
        options = {name: wanted[name] for name in ("temperature", "top_k", "top_p") if sampled and name in wanted}
        seed = torch.initial_seed() if sampled else None
        steps = stream(self.model, ids.to(self._device), min(new, self.max_length - ids.shape[1]), padding=padding,
                       seed=seed, **options)  # fmt: skip
        decode = partial(self.tokenizer.decode, skip_special_tokens=True)
        return written(steps, len(rows), decode, self.stops, until)


# -- where models come from


def read(path: str | None) -> tuple[Decoder, "Tokenizer | PreTrainedTokenizerBase", list[int]]:
    """The model at `path`, its tokenizer, and the tokens that end an answer beside the tokenizer's own."""
    from slmkit import interop, pretrained

    if path is None:
        raise ValueError("there is no model; give --model_args path=FOLDER, or path=smollm2")
    if str(path).lower() in ("smollm2", pretrained.NAME.lower()):
        model, tokenizer = pretrained.load()
        return model, tokenizer, pretrained.stop_tokens(tokenizer)
    folder = Path(path)
    if not folder.is_dir():
        raise FileNotFoundError(f"there is no folder {path}; give one that holds a model, or smollm2")
    if not in_transformers_format(folder):
        return storage.load(folder), Tokenizer.load(folder / storage.TOKENIZER), []
    from transformers import AutoModelForCausalLM, AutoTokenizer

    theirs = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32, local_files_only=True,
                                                  use_safetensors=True)  # fmt: skip
    ends = theirs.generation_config.eos_token_id
    ends = ends if isinstance(ends, list) else [ends] if ends is not None else []
    return interop.from_transformers(theirs), AutoTokenizer.from_pretrained(folder, local_files_only=True), ends


def in_transformers_format(folder: Path) -> bool:
    """Their config.json names a family of models, ours has no such field."""
    try:
        return "model_type" in json.loads((folder / storage.CONFIG).read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise FileNotFoundError(f"there is no model at {folder}: {storage.CONFIG} is missing") from None
    except ValueError as error:
        raise ValueError(f"{folder / storage.CONFIG} is damaged ({error})") from None


def for_transformers(tokenizer: Tokenizer) -> "PreTrainedTokenizerBase":
    """Our tokenizer in the form that lm-eval knows; it encodes alike."""
    from transformers import PreTrainedTokenizerFast

    return PreTrainedTokenizerFast(tokenizer_object=tokenizer.backend, eos_token=END_OF_TEXT, split_special_tokens=True)


@cache
def model_class() -> type:
    """The class for lm_eval.simple_evaluate(model="slmkit", …), registered under this name. Needs lm-eval."""
    from lm_eval.api.model import TemplateLM
    from lm_eval.api.registry import register_model

    return register_model("slmkit")(type("SlmkitLM", (Model, TemplateLM), {}))


def main() -> int:
    """The command `lm_eval` with one model more."""
    try:
        from lm_eval.__main__ import cli_evaluate
    except ImportError:
        print("lm_eval: lm-eval is not installed; pip install 'slmkit[evaluation]'", file=sys.stderr)
        return 1
    model_class()
    try:
        cli_evaluate()
    except Refused as error:
        print(f"lm_eval: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
