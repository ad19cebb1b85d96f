"""Distillation: a student learns from a teacher's distribution of the next token, or from text that the teacher wrote.

`train(student, data, config, objective=distillation(teacher))` takes the teacher along. To ask it once and train often:
`outputs = store(teacher, data.train, context)`, then `TokenData(outputs, data.held_out)` and `distillation(outputs)`.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from slmkit.data.packing import Batches, TokenRow
from slmkit.data.tokenizer import Tokenizer
from slmkit.model.decoder import Decoder
from slmkit.model.generation import generate, left_pad


def kl(p: Tensor, q: Tensor) -> Tensor:
    """Kullback-Leibler divergence KL(p ‖ q): how many nats more a code made for q needs for tokens drawn from p.

    Of log-probabilities [..., vocab], natural logarithms: [...].
    """
    return (p.exp() * (p - q)).sum(-1)


def jensen_shannon(student: Tensor, teacher: Tensor, beta: float) -> Tensor:
    """Generalized Jensen-Shannon divergence (GKD, Agarwal et al. 2023, section 2), `beta` from 0 to 1.

    Of log-probabilities [..., vocab]: [...], in nats.
    β KL(teacher ‖ m) + (1 - β) KL(student ‖ m) with m = β teacher + (1 - β) student. Divided by β it tends to the
    forward KL(teacher ‖ student) for β → 0, divided by 1 - β to the reverse KL(student ‖ teacher) for β → 1. These two
    are what beta = 0 and 1 give, as in TRL's generalized_jsd_loss, so that the scale jumps at the ends.
    """
    if beta in (0, 1):
        return kl(student, teacher) if beta else kl(teacher, student)
    mixture = torch.logaddexp(teacher + math.log(beta), student + math.log1p(-beta))
    return beta * kl(teacher, mixture) + (1 - beta) * kl(student, mixture)


def bucketed(log_probs: Tensor, ids: Tensor) -> Tensor:
    """The log-probabilities of `ids` [..., k], and last that of all other tokens together: [..., k + 1].

    Joining tokens can only hide differences, so a divergence of bucketed distributions is a lower bound of the whole
    one. Without the bucket, k probabilities scaled up to a sum of 1 would teach that no other token ever comes.
    """
    rest = log_probs.scatter(-1, ids, -math.inf).logsumexp(-1, keepdim=True)
    return torch.cat((log_probs.gather(-1, ids), rest), dim=-1)


class DistillationLoss(nn.Module):
    """Called like the trainer's NextTokenLoss: (inputs, targets), each [batch, time] -> scalar, in nats a token.

    (1 - hard) T² D(student, teacher) + hard × cross-entropy of the real token. D is `jensen_shannon` with `beta` of
    both softmaxes at `temperature` T. A gradient through logits / T shrinks like 1/T, and the differences of the
    softmaxes like 1/T again, so that T² keeps its size (Hinton et al. 2015, section 2); TRL has no such factor. The
    cross-entropy is at temperature 1.

    With `own` above 0 that share of each batch's rows is on-policy (GKD): the student reads `prompt` tokens and writes
    the rest itself, the teacher's view of which it then learns. No gradient goes through the sampling.

    The teacher is a Decoder, which is frozen here, or `StoredOutputs`; then targets are places in its row. Raises
    ValueError when teacher and student cannot be compared token by token, or for impossible settings.
    """

    def __init__(self, model: Decoder, teacher: "Decoder | StoredOutputs", bf16: bool = False, *, beta: float = 0.0,
                 temperature: float = 1.0, hard: float = 0.0, own: float = 0.0, prompt: int = 8):  # fmt: skip
        super().__init__()
        stored = isinstance(teacher, StoredOutputs)
        _check(model, teacher, beta, temperature, hard, own, prompt)
        if not stored:
            teacher.eval().requires_grad_(False)
        self.model, self.teacher, self.stored, self.bf16 = model, teacher, stored, bf16
        self.beta, self.temperature, self.hard, self.own, self.prompt = beta, temperature, hard, own, prompt

    def forward(self, inputs: Tensor, targets: Tensor) -> Tensor:
        if self.own:
            inputs = self.with_own_text(inputs)
        logits = self.logits(self.model, inputs)
        student = (logits / self.temperature).log_softmax(-1)
        if self.stored:
            if not torch.equal(self.teacher.labels(targets - 1), inputs):
                raise ValueError("stored outputs belong to other tokens than the batch; train on TokenData(outputs, …)")
            teacher, ids = self.teacher.at(targets)
            targets = self.teacher.labels(targets)
            student = student if ids is None else bucketed(student, ids)
        else:
            with torch.no_grad():
                teacher = (self.logits(self.teacher, inputs) / self.temperature).log_softmax(-1)
        loss = self.temperature**2 * jensen_shannon(student, teacher.to(student.dtype), self.beta).mean()
        if self.hard:
            known = F.cross_entropy(logits.flatten(0, 1), targets.flatten())
            loss = (1 - self.hard) * loss + self.hard * known
        return loss

    def logits(self, model: Decoder, inputs: Tensor) -> Tensor:
        """[batch, time, vocab], in fp32 at least: differences of log-probabilities are small numbers."""
        with torch.autocast(inputs.device.type, torch.bfloat16, enabled=self.bf16):
            logits = model(inputs)
        return logits.to(torch.promote_types(logits.dtype, torch.float32))

    @torch.compiler.disable
    def with_own_text(self, inputs: Tensor) -> Tensor:
        """The batch with the student's own continuation in the first rows, which are as random as any others."""
        rows, time = math.ceil(self.own * len(inputs)), inputs.shape[1]
        seed = int(inputs.sum())  # so that a resumed run draws what an unbroken one would
        written = generate(self.model, inputs[:rows, : self.prompt], time - self.prompt, temperature=1.0, seed=seed)
        return torch.cat((written.clone(), inputs[rows:]))  # a clone may be kept for the backward pass


def distillation(teacher: "Decoder | StoredOutputs", **options) -> partial:
    """The `objective` of `train`, with DistillationLoss's options; its `content` is what a kept run depends on."""
    objective = partial(DistillationLoss, teacher=teacher, **options)
    settings = torch.tensor(list(repr(sorted(options.items())).encode()), dtype=torch.uint8)
    weights = teacher.content if isinstance(teacher, StoredOutputs) else teacher.parameters()  # numpy has no bfloat16
    objective.content = (settings, *(tensor.detach().contiguous().flatten().view(torch.uint8) for tensor in weights))
    return objective


def same_vocabulary(student: Tokenizer, teacher: Tokenizer):
    """Raises ValueError, one line, unless the two encode alike; equal sizes alone do not say that ids mean the same."""
    if student.digest != teacher.digest:
        raise ValueError(
            f"the teacher's vocabulary ({teacher.vocab_size} tokens, {teacher.digest}) is not the student's "
            f"({student.vocab_size}, {student.digest}), so their probabilities cannot be compared; train the student "
            "with the teacher's tokenizer, or on text that the teacher wrote (distillation.written)"
        )


def _check(model: Decoder, teacher, beta, temperature, hard, own, prompt):
    stored = isinstance(teacher, StoredOutputs)
    ours, theirs = model.config.vocab_size, teacher.vocab_size if stored else teacher.config.vocab_size
    if ours != theirs:
        raise ValueError(
            f"the teacher's vocabulary has {theirs} tokens, the student's {ours}, so their probabilities cannot be "
            "compared; give the student the teacher's tokenizer, or train it on text that the teacher wrote"
        )
    if teacher is model:
        raise ValueError("teacher and student are one model; give a copy (copy.deepcopy) as teacher")
    for name, value in (("beta", beta), ("hard", hard), ("own", own)):
        if not 0 <= value <= 1:
            raise ValueError(f"{name} is {value}; it must be from 0 to 1")
    if not 0 < temperature < math.inf:
        raise ValueError(f"temperature is {temperature}; it must be above 0, and finite")
    if stored and teacher.temperature != temperature:
        raise ValueError(f"outputs stored at temperature {teacher.temperature} do not serve {temperature}; store again")
    if own and (stored or hard or prompt < 1):
        raise ValueError("own text needs the teacher itself, not stored outputs, hard = 0, and a prompt of 1 or more")


@dataclass(frozen=True)
class StoredOutputs:
    """What a teacher expects at each token of a row. Takes the row's place in TokenData, and the teacher's in the loss.

    Batches have inputs as ever; their targets are places in the row, by which the loss finds token and distribution.
    """

    row: TokenRow
    log_probs: Tensor  # [n, vocab], or [n, k + 1] with that of all other tokens last
    ids: Tensor | None  # [n, k]; None: all tokens, in order
    temperature: float
    vocab_size: int  # the teacher's

    @property
    def content(self) -> tuple[Tensor, ...]:
        """All that a batch depends on beside its seed and step; see training/kept.py."""
        kept = (self.log_probs,) if self.ids is None else (self.log_probs, self.ids)
        return (torch.tensor([self.temperature], dtype=torch.float64), self.row.tokens, *kept)

    def batches(self, batch_size: int, context: int, seed: int = 0):
        """As TokenRow's, with the same tokens at each step: inputs and places, each [batch_size, context], int64."""
        drawn = Batches(replace(self.row, tokens=torch.arange(len(self.row))), batch_size, context, seed)

        def batch(step: int, part: slice = slice(None)) -> tuple[Tensor, Tensor]:
            read, targets = drawn(step, part)
            return self.labels(read), targets

        return batch

    def labels(self, places: Tensor) -> Tensor:
        """The tokens at these places, of the same shape, int64."""
        return self.row.tokens[places.cpu()].long().to(places.device)

    def at(self, places: Tensor) -> tuple[Tensor, Tensor | None]:
        """Log-probabilities [*places, vocab or k + 1] and ids [*places, k]. Rounded ones sum to 1 again."""
        where = places.cpu()
        log_probs = self.log_probs[where].to(places.device)
        log_probs = log_probs.to(torch.promote_types(log_probs.dtype, torch.float32)).log_softmax(-1)
        return log_probs, None if self.ids is None else self.ids[where].long().to(places.device)


@torch.inference_mode()
def store(teacher: Decoder, row: TokenRow, context: int, k: int | None = None, *, temperature: float = 1.0,
          batch_size: int = 8, dtype: torch.dtype = torch.float16) -> StoredOutputs:  # fmt: skip
    """Asks the teacher for its distribution at each token of `row`, read in windows of `context` tokens that overlap by
    half, so that all but the first see at least half a window. `k` keeps the k likeliest tokens and one number for the
    rest, None all of them; `stored_bytes` says beforehand what that takes. Raises ValueError for what cannot be stored.
    """
    vocab, n = teacher.config.vocab_size, len(row)
    if row.vocab_size > vocab or (k is not None and k < 1):
        raise ValueError(f"row.vocab_size = {row.vocab_size} is at most the teacher's {vocab}, and k = {k} at least 1")
    k = None if k is None or k >= vocab else k
    device, context = teacher.embedding.weight.device, min(context, n)
    text = torch.cat((row.tokens[-1:], row.tokens)).long()  # every row ends with a separator; see bits_per_byte
    kept = torch.empty(n, vocab if k is None else k + 1, dtype=dtype)
    ids = None if k is None else torch.empty(n, k, dtype=torch.uint16 if vocab <= 2**16 else torch.int32)
    teacher.eval()
    stride = max(context // 2, 1)
    starts = [*range(0, n - context, stride), n - context]
    for i in range(0, len(starts), batch_size):
        group = starts[i : i + batch_size]
        logits = teacher(torch.stack([text[s : s + context] for s in group]).to(device))
        logits = logits.to(torch.promote_types(logits.dtype, torch.float32))
        if not logits.isfinite().all():
            raise ValueError(f"the teacher's logits near token {group[0]} are not finite; nobody can learn from them")
        found = (logits / temperature).log_softmax(-1)
        for start, log_probs in zip(group, found):
            known = context - stride if start else 0  # what an earlier window has seen with more before it
            place, log_probs = slice(start + known, start + context), log_probs[known:]
            if ids is not None:
                chosen = log_probs.topk(k).indices
                ids[place], log_probs = chosen, bucketed(log_probs, chosen)
            kept[place] = log_probs
    return StoredOutputs(row, kept, ids, temperature, vocab)


def stored_bytes(tokens: int, vocab_size: int, k: int | None = None) -> int:
    """Bytes of the outputs for so many tokens: 16 bits a log-probability; top-k also has an id each, and the rest."""
    if k is None or k >= vocab_size:
        return 2 * tokens * vocab_size
    return tokens * (2 * (k + 1) + (2 if vocab_size <= 2**16 else 4) * k)


def written(teacher: Decoder, tokenizer: Tokenizer, prompts: Sequence[str], max_new_tokens: int, *,
            temperature: float = 1.0, seed: int = 0, batch_size: int = 64) -> list[str]:  # fmt: skip
    """A document for each prompt: the prompt, and how the teacher goes on until it ends the text or its room is full.

    Training on such text is distillation too (Kim and Rush 2016; LaMini-GPT, Wu et al. 2023, with instructions as
    prompts), for a student with any tokenizer. An empty prompt lets the teacher begin. `max_new_tokens` are the
    teacher's tokens; `temperature` 0 takes the likeliest one.
    """
    documents, end = [], tokenizer.end_of_text
    for i in range(0, len(prompts), batch_size):
        group = tokenizer.encode_documents(prompts[i : i + batch_size])
        ids, padding = left_pad([prompt or [end] for prompt in group])
        room = max(1, teacher.config.max_context + 1 - ids.shape[1])
        rows = generate(teacher, ids, min(max_new_tokens, room), temperature=temperature, padding=padding,
                        stop_tokens=[end], seed=seed + i)  # fmt: skip
        for row, begin, prompt in zip(rows.tolist(), padding.tolist(), group):
            text = row[begin:] if prompt else row[1 + begin :]
            documents.append(tokenizer.decode(text[: text.index(end)] if end in text else text))
    return documents
