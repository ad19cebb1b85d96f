"""Small errors of the kind that people make, and the tests that must notice each: read by mutate.py.

The text that is replaced must occur exactly once in its file. When an edit moves it, adapt the entry here.
"""

from typing import NamedTuple


class Mutation(NamedTuple):
    file: str
    breaks: str  # what is wrong afterwards
    old: str
    new: str
    tests: tuple[str, ...]

    def __str__(self) -> str:
        return f"{self.file}: {self.breaks}"


def _in(file: str, tests: str, *errors: tuple[str, str, str]) -> list[Mutation]:
    """Mutations of one file, each (what it breaks, old text, new text). `tests` are paths separated by spaces.

    Of a whole file the tests marked slow are left out; to run one, name it.
    """
    return [Mutation(f"slmkit/{file}", *error, tuple(f"tests/{test}" for test in tests.split())) for error in errors]


MODEL = [
    *_in(
        "model/attention.py",
        "model/test_attention.py model/test_decoder.py model/test_options.py",
        ("the scale is dropped", "is_causal=mask is None, scale=scale", "is_causal=mask is None, scale=1.0"),
        ("one token's scale is dropped", "(q, k, v, scale=scale)", "(q, k, v, scale=1.0)"),
        (
            "absorbed scores forget the rotated part",
            'scores + torch.einsum("bhtr,bsr->bhts", q_rope, k_rope[:, 0])',
            "scores",
        ),
        (
            "one token's query heads read other groups",
            "q = q.reshape(len(q), k.shape[1], -1, q.shape[3])",
            "q = q.reshape(len(q), -1, k.shape[1], q.shape[3]).transpose(1, 2)",
        ),
        ("every query sees every key", "is_causal=mask is None", "is_causal=False"),
        ("a masked query sees the next token", "visible = distance >= 0", "visible = distance >= -1"),
        ("the window is one token too wide", "visible & (distance < window)", "visible & (distance <= window)"),
        ("the window starts one token late", "tokens > window", "tokens > window + 1"),
        ("the first token after the padding is hidden", "key >= padding[", "key > padding["),
        ("the first padding token is seen", "key >= padding[", "key >= -1 + padding["),
        ("ALiBi rewards distance", "(-slopes.float()[", "(slopes.float()["),
        (
            "keys are not rotated",
            "q, k = apply_rope(q, reading.rope), apply_rope(k, reading.rope)",
            "q = apply_rope(q, reading.rope)",
        ),
        (
            "heads are cut along the wrong axis",
            "x.view(x.shape[0], x.shape[1], -1, width).transpose(1, 2)",
            "x.view(x.shape[0], x.shape[1], width, -1).movedim(-1, 1)",
        ),
        (
            "heads are joined in reverse",
            "mixed.transpose(1, 2).flatten(2)",
            "mixed.flip(1).transpose(1, 2).flatten(2)",
        ),
        ("the latent is not normalized", "self.kv_norm(latent)[:, None]", "latent[:, None]"),
        ("the query latent is not normalized", "self.q_norm(self.q_down(x))", "self.q_down(x)"),
        (
            "the latent query's parts change places",
            "torch.cat((q_plain, q_rope), dim=-1)",
            "torch.cat((q_rope, q_plain), dim=-1)",
        ),
        (
            "the written-out formula pairs heads with the wrong keys",
            "x.repeat_interleave(q.shape[1] // k.shape[1], dim=1)",
            "x.repeat(1, q.shape[1] // k.shape[1], 1, 1)",
        ),
        ("the written-out formula has no scale", "torch.float32)) * scale", "torch.float32))"),
        ("the written-out formula's triangle is upside down", "device=q.device).tril()", "device=q.device).triu()"),
        ("scores are not capped", "scores = soft_cap(scores, cap)", "pass"),
        ("latent attention does not cap", "self.window, None, padding, self.cap)", "self.window, None, padding)"),
        ("every cap is 1", "cap * torch.tanh(x / cap)", "torch.tanh(x / cap)"),
        ("a norm over the full width is dropped", 'if self.qk_norm == "full"', "if False"),
        ("the heads' norms are dropped", 'if self.qk_norm in ("head", "head_plain")', "if False"),
        ("norms on rotated heads are dropped", 'if self.qk_norm == "head_rotated"', "if False"),
        (
            "the latent's own epsilon is not used",
            "Norm(config, self.rank, eps=",
            "Norm(config, self.rank) or dict(eps=",
        ),
    ),
    *_in(
        "model/grouping.py",
        "model/test_grouping.py",
        ("merged heads are summed", ".mean(1)", ".sum(1)"),
        ("heads far apart are merged", "(kv_heads, -1, head_dim)).mean(1)", "(-1, kv_heads, head_dim)).mean(0)"),
    ),
    *_in(
        "model/cache.py",
        "model/test_attention.py model/test_generation.py",
        ("a prompt counts as one token", "self.length += time", "self.length += 1"),
        ("room that is not filled is read", "store.narrow(2, 0, end)", "store.narrow(2, 0, end + 1)"),
        ("the last place is refused", "if end > self.capacity", "if end >= self.capacity"),
    ),
    *_in(
        "model/counting.py",
        "model/test_counting.py",
        ("the final norm is not counted", "* len(unique) + last +", "* len(unique) +"),
        ("norms on both sides count once", 'return 4 if config.norm_placement == "both"', "return 2 if True"),
        ("projections at the ends are not counted", "2 * d * (narrow or 0) +", "0 +"),
        ("the head's bias is not counted", "+ config.vocab_size * config.head_bias", "+ 0"),
        (
            "spare position rows are not counted",
            "(config.max_context + config.position_offset) * d",
            "config.max_context * d",
        ),
        ("keys' norms count as queries'", '"full": heads + kv_heads', '"full": 2 * heads'),
        ("projections at the ends cost nothing", "+ 4 * config.d_model * (config.embedding_width or 0)", "+ 0"),
        ("a tied head counts twice", "head=0 if config.tied_embeddings else config", "head=config"),
        ("every FFN counts as gated", '* (2 if config.ffn == "gated" else 1)', "* 2"),
        ("keys count as query heads", "for n in (heads, kv_heads, kv_heads)", "for n in (heads, heads, kv_heads)"),
        ("biases are left out", "(outputs if bias and biased else 0)", "0"),
        ("training costs twice a forward pass", "3 * flops if", "2 * flops if"),
        ("a multiply-add counts once", '"scores"] += 2 *', '"scores"] += 1 *'),
        ("a prompt's tokens see one key less", "window * (window - 1) / (2", "window * (window + 1) / (2"),
        ("shared blocks share a cache", "range(config.n_layers) for shape in", "config.unique_layers for shape in"),
    ),
    *_in(
        "model/decoder.py",
        "model/test_decoder.py model/test_generation.py model/test_options.py",
        ("the residual is dropped", "x = x + (branch if", "x = (branch if"),
        ("attention reads without a norm", "normed = norm(x) if (norm", "normed = x if (norm"),
        (
            "a parallel FFN reads what attention wrote",
            "fed = self.ffn(norm(x) if (norm := self.ffn_norm) is not None else normed)",
            "fed = self.ffn(norm(x + mixed) if (norm := self.ffn_norm) is not None else normed)",
        ),
        ("the residual's scale is dropped", "branch * self.scale)", "branch)"),
        ("a norm after the branch is dropped", "branch = post_norm(branch)", "pass"),
        ("a norm after the residual is dropped", "return post_norm(x) if self.after_residual else x", "return x"),
        ("a scaled residual begins too small", "** 0.5 * config.residual_scale", "** 0.5"),
        ("norms on a branch begin too large", "module.weight.fill_(1 / depth - config.norm_unit_offset)", "pass"),
        ("an offset is forgotten", "fill_(1 / depth - config.norm_unit_offset)", "fill_(1 / depth)"),
        ("the tied embedding forgets the logits' scale", "* config.logit_scale) ** 0.5", "* 1.0) ** 0.5"),
        ("the logits' scale is dropped", "logits = logits * self.config.logit_scale", "pass"),
        ("logits are not capped", "return logits if self.config.logit_cap is None", "return logits if True"),
        ("the embedding's norm is dropped", "x = self.embedding_norm(x)", "pass"),
        ("spare position rows are read", ".weight[self.config.position_offset :][where]", ".weight[where]"),
        ("all layers rotate like the first", "readings[self.rope_of[i]]", "readings[0]"),
        (
            "the embedding's scale is dropped",
            "if self.config.embedding_scale != 1",
            "if self.config.embedding_scale == 1",
        ),
        ("positions start again after the cache", "start = cache.length if cache is not None else 0", "start = 0"),
        (
            "padding counts as positions",
            "device=ids.device) - padding[:, None])",
            "device=ids.device) - 0 * padding[:, None])",
        ),
        ("the final norm is dropped", "return norm(x) if (norm := self.norm)", "return x if (norm := self.norm)"),
        ("an untied head is not used", "if self.head is None else self.head(hidden)", "if True else 0"),
        (
            "blocks are not shared",
            "Block(config, i) if i in config.unique_layers else self.blocks[i - 1]",
            "Block(config, i)",
        ),
        (
            "a shared FFN is not shared",
            "self.blocks[i].ffn = self.blocks[0].ffn",
            "self.blocks[i].ffn = self.blocks[i].ffn",
        ),
        ("the last position is refused", "if end > self.config.max_context", "if end >= self.config.max_context"),
        ("linear layers begin too small", "std = module.in_features**-0.5", "std = module.in_features**-1.0"),
        ("residual writers begin too large", "std /= depth", "std /= 1"),
        ("the tied embedding begins too small", "half_way = width**-0.25", "half_way = width**-0.5"),
    ),
    *_in(
        "model/feedforward.py",
        "model/test_norm_ffn.py model/test_decoder.py",
        (
            "the wrong side is activated",
            "self.activation(self.gate(x)) * self.up(x)",
            "self.gate(x) * self.activation(self.up(x))",
        ),
        ("a standard FFN is linear", "self.down(self.activation(self.up(x)))", "self.down(self.up(x))"),
        ("squared ReLU is not squared", "F.relu(x).square()", "F.relu(x)"),
        ("the exact GELU is approximated", '"gelu": F.gelu,', '"gelu": partial(F.gelu, approximate="tanh"),'),
    ),
    *_in(
        "model/normalization.py",
        "model/test_norm_ffn.py model/test_decoder.py model/test_options.py",
        ("a plain norm has a weight", "config.norm_weight and not plain", "config.norm_weight"),
        ("RMSNorm and LayerNorm change places", 'self.kind == "layernorm"', 'self.kind != "layernorm"'),
        ("Gemma's offset is dropped", "1 + weight.to(wide)", "weight.to(wide)"),
        ("the norm's bias is dropped", "return x if bias is None else x + bias", "return x"),
        (
            "the norm's own epsilon is not used",
            "F.rms_norm(x, self.width, weight, self.eps)",
            "F.rms_norm(x, self.width, weight, 1e-5)",
        ),
    ),
    *_in(
        "model/positions.py",
        "model/test_positions.py model/test_options.py model/test_attention.py model/test_decoder.py",
        ("the rotation is no rotation", "torch.cat((-sin, sin), dim=-1)", "torch.cat((sin, sin), dim=-1)"),
        (
            "partial rotation turns too slowly",
            "dtype=torch.float32) / config.rope_dim",
            "dtype=torch.float32) / config.head_dim",
        ),
        ("the first ALiBi head has no slope", "2 ** (-8 * (i + 1) / power)", "2 ** (-8 * i / power)"),
        ("extra ALiBi heads are too weak", "2 ** (-4 * (i + 1) / power)", "2 ** (-8 * (i + 1) / power)"),
        (
            "a longer context turns faster",
            "return frequency / scaling.factor, 1.0",
            "return frequency * scaling.factor, 1.0",
        ),
        (
            "Llama 3's band is empty",
            "keep = (turns - scaling.low_freq_factor)",
            "keep = (turns - scaling.high_freq_factor)",
        ),
        ("YaRN keeps the slow and divides the fast", "keep = 1 - ((j - low)", "keep = 0 + ((j - low)"),
        ("YaRN's factor is dropped from the cosines", "angle.cos() * attention_factor", "angle.cos()"),
        ("NTK forgets that the slowest pair is not the last", "(2 * j / max(dim - 2, 1))", "(2 * j / dim)"),
        ("LongRoPE is long too early", "config.max_context > scaling", "config.max_context >= scaling"),
        ("LongRoPE speeds up", "return frequency / by,", "return frequency * by,"),
        ("LongRoPE's factor has no root", "usual = math.sqrt(1 +", "usual = (1 +"),
        (
            "every rotation has layer 0's base",
            "1.0 / rotation.theta**exponent",
            "1.0 / config.rotation(0).theta**exponent",
        ),
    ),
    *_in(
        "model/generation.py",
        "model/test_generation.py model/test_stopping.py",
        ("the next token follows the first", "cache, padding)[:, -1]", "cache, padding)[:, 0]"),
        ("a higher temperature sharpens", "keepdim=True)) / temperature", "keepdim=True)) * temperature"),
        ("top_k keeps one token", ".values[:, -1:]", ".values[:, :1]"),
        ("top_p drops the token that crosses", "ordered.cumsum(-1) - ordered", "ordered.cumsum(-1)"),
        (
            "top_p forgets which token is which",
            "torch.zeros_like(probabilities).scatter(-1, order, ordered)",
            "ordered",
        ),
        ("a stopped row goes on", "torch.where(torch.isin(last, stops), last, token)", "token"),
        ("one stopped row stops all", "torch.isin(token, stops).all()", "torch.isin(token, stops).any()"),
        ("rows are padded at the right", "[pad_token] * count + list(row)", "list(row) + [pad_token] * count"),
    ),
    *_in(
        "model/storage.py",
        "model/test_storage.py",
        ("a loaded model has no rotary tables", "    model.make_tables()\n", ""),
        ("one sound weight is enough", "tensor.isfinite().all()", "tensor.isfinite().any()"),
    ),
]

DATA = [
    *_in(
        "data/mixing.py",
        "data/test_mixing.py",
        ("a source's rows are those of the batch", "return source, before[source]", "return source, i"),
        ("two sources are read in the same order", "seed + APART * i for i", "seed + 0 * i for i"),
        ("weights are shares of what is left, not of all", "UNIT * weight / rest", "UNIT * weight / left[0]"),
        ("the seed moves nothing", "default_rng(seed).integers(UNIT", "default_rng(0).integers(UNIT"),
        (
            "sources of different tokenizers pass",
            "for row, _ in self.sources.values()}) > 1",
            "for row, _ in self.sources.values()}) > 9",
        ),
        ("a negative weight passes", "if not 0 <= weight < math.inf", "if not weight < math.inf"),
    ),
    *_in(
        "data/packing.py",
        "data/test_packing.py",
        ("targets are the inputs", "windows[:, :-1], windows[:, 1:]", "windows[:, :-1], windows[:, :-1]"),
        ("windows come in the order of the text", "int(self._order[place])", "place"),
        ("every epoch has the same order", "default_rng((self.seed, epoch))", "default_rng(self.seed)"),
        ("every seed has the same order", "default_rng((self.seed, epoch))", "default_rng(epoch)"),
        ("the order depends on what was asked before", "if epoch != self._epoch", "if self._epoch is None"),
        ("every epoch starts at the first token", "self._offset + int(", "int("),
        ("the last window runs over the end", "(len(row) - 1) // context - 1", "(len(row) - 1) // context"),
        ("every process takes the whole batch", "first + self.batch_size)[part]", "first + self.batch_size)"),
        ("documents run into each other", "for i in (*doc, tokenizer.end_of_text)", "for i in doc"),
        ("characters count as bytes", "len(text.encode()) for text in documents", "len(text) for text in documents"),
        ("large ids wrap around", "tokenizer.vocab_size <= 2**16", "tokenizer.vocab_size <= 2**17"),
        ("the held-out row is the training row", "pack(corpus.held_out,", "pack(corpus.train,"),
        ("the whole row is read into memory", 'file.get_tensor("tokens")', 'file.get_tensor("tokens").clone()'),
        ("a half-written file stays behind", "partial.unlink(missing_ok=True)", "pass"),
    ),
    *_in(
        "data/tokenizer.py",
        "data/test_tokenizer.py",
        ("texts gain a space", "add_prefix_space=False", "add_prefix_space=True"),
        (
            "a text can make the separator",
            "backend.encode_special_tokens = True",
            "backend.encode_special_tokens = False",
        ),
        ("the separator is not decoded", "skip_special_tokens=False", "skip_special_tokens=True"),
        ("rare bytes are lost", "initial_alphabet=pre_tokenizers.ByteLevel.alphabet()", "initial_alphabet=[]"),
    ),
    *_in(
        "data/corpora.py",
        "data/test_corpora.py",
        ("held-out stories are trained on", "tuple(texts[split:])", "tuple(texts)"),
        ("held-out speeches are trained on", "tuple(table.text[~late])", "tuple(table.text)"),
        (
            "a new file moves others to the other part",
            "parts[zlib.crc32(key.encode()) % HELD_OUT_SHARE == 0]",
            "parts[len(parts[False]) % HELD_OUT_SHARE == 0]",
        ),
        ("a byte order mark is text", '"utf-8-sig"', '"utf-8"'),
    ),
    *_in(
        "data/tinyworld.py",
        "data/test_tinyworld.py",
        (
            "a thing is given to its owner",
            "other = friends[1] if keeper == friends[0]",
            "other = friends[0] if keeper == friends[0]",
        ),
        ("given things stay, left things are given", "== give else here", "!= give else here"),
        ("the friends walk to where they are", "choose(_others(PLACES, here))", "choose(PLACES)"),
        ("choices cost the wrong bits", "shares[options.index(option)] / sum(shares)", "1 / len(shares)"),
        ("the last turn is free", "turns = 1 / turn[END]", "turns = 1 / turn[END] - 1"),
    ),
]

TRAINING = [
    *_in(
        "training/optimizers.py",
        "training/test_trainer.py",
        ("vectors decay", '"weight_decay": 0.0', '"weight_decay": config.weight_decay'),
        ("matrices do not decay", '"weight_decay": config.weight_decay', '"weight_decay": 0.0'),
        ("the betas change places", "betas=(config.beta1, config.beta2)", "betas=(config.beta2, config.beta1)"),
    ),
    *_in(
        "training/schedules.py",
        "training/test_schedules.py",
        ("the first step learns nothing", "(step + 1) / config.warmup", "step / config.warmup"),
        ("the cosine rises", "(1 + math.cos(math.pi * done)) / 2", "(1 - math.cos(math.pi * done)) / 2"),
        ("the rate ends above its end", "(1 - config.final_rate) * falling", "falling"),
        ("the cosine forgets the warm-up", "(step - start) / (config.steps - start)", "step / config.steps"),
        ("WSD decays early", "config.steps * (1 - config.decay)", "config.steps * config.decay"),
    ),
    *_in(
        "training/stages.py",
        "training/test_stages.py",
        ("a source begins anew in each stage", "batch_size, context, seed, read.copy())", "batch_size, context, seed)"),
        ("a stage begins one step late", "stage = bisect(self.ends, step)", "stage = bisect(self.ends, step - 1)"),
        ("a stage counts its steps from the run's beginning", "step - (self.ends[stage - 1] if stage else 0)", "step"),
        ("the decay begins too early", "decay=steps / (step + steps)", "decay=(steps + 1) / (step + steps)"),
        ("a branch may have had other rates", "if any(share(before, i) != share(config, i)", "if False and any(i"),
        ("kept runs do not know their stages", "return (steps, *(tensor", "return (steps[:0], *(tensor"),
        (
            "an unknown source is passed over",
            "if unknown := set(stage.weights) - set(sources):",
            "if unknown := set():",
        ),
        ("a decay may start within the warm-up", "if not stable.warmup <= step or steps < 1:", "if steps < 1:"),
        ("a branch may change anything", "if getattr(before, name) != getattr(config, name):", "if False:"),
        ("a branch keeps the stable run's configuration", 'state | {"training": config.to_dict()}', "state"),
    ),
    *_in(
        "training/mup.py",
        "training/test_mup.py",
        (
            "hidden matrices keep their rate",
            'Rule("hidden", deviation=-1 / 2, rate=-1',
            'Rule("hidden", deviation=-1 / 2, rate=0',
        ),
        (
            "logits do not fall",
            'Rule("output", deviation=0, rate=0, multiplier=-1)',
            'Rule("output", deviation=0, rate=0, multiplier=0)',
        ),
        (
            "tied logits do not fall",
            'Rule("tied", deviation=0, rate=0, multiplier=-1)',
            'Rule("tied", deviation=0, rate=0, multiplier=0)',
        ),
        (
            "scores go by the root",
            'Rule("scores", deviation=0, rate=0, multiplier=-1)',
            'Rule("scores", deviation=0, rate=0, multiplier=-1 / 2)',
        ),
        (
            "the embedding's rate falls",
            'Rule("input", deviation=0, rate=0, multiplier=0),  #',
            'Rule("input", deviation=0, rate=-1, multiplier=0),  #',
        ),
        ("a tied matrix follows the input's rule", '"tied" if tied else "input"', '"input"'),
        ("learned positions are hidden weights", '"position_embedding.weight": "input", ', ""),
        ("vectors are matrices", "if parameter.dim() < 2:", "if parameter.dim() < 1:"),
        ("key/value heads do not grow", '("d_ff", "n_heads", "n_kv_heads")', '("d_ff", "n_heads")'),
        ("the base's factor on logits is lost", "base.logit_scale * float(m) ** exponent", "float(m) ** exponent"),
        ("widths are rounded", "if (value * m).denominator != 1:", "if False:"),
        ("Decoder's own division stays in a tied matrix", "exponent += rule.multiplier / 2", "pass"),
        ("weights are drawn as without the rules", "rule.deviation - drawn.deviation", "0"),
        ("the growth is upside down", "return config.d_model / base", "return base / config.d_model"),
    ),
    *_in(
        "training/distillation.py",
        "training/test_distillation.py",
        ("the divergence is turned round", "(p.exp() * (p - q)).sum(-1)", "(q.exp() * (q - p)).sum(-1)"),
        (
            "beta weighs the other one",
            "torch.logaddexp(teacher + math.log(beta), student + math.log1p(-beta))",
            "torch.logaddexp(student + math.log(beta), teacher + math.log1p(-beta))",
        ),
        (
            "both divergences weigh alike",
            "beta * kl(teacher, mixture) + (1 - beta)",
            "0.5 * kl(teacher, mixture) + 0.5",
        ),
        (
            "the ends change places",
            "kl(student, teacher) if beta else kl(teacher, student)",
            "kl(teacher, student) if beta else kl(student, teacher)",
        ),
        (
            "the rest holds the kept tokens too",
            "log_probs.scatter(-1, ids, -math.inf).logsumexp",
            "log_probs.logsumexp",
        ),
        (
            "the student stays at temperature 1",
            "student = (logits / self.temperature).log_softmax(-1)",
            "student = logits.log_softmax(-1)",
        ),
        ("the gradient falls with the temperature", "self.temperature**2 * jensen_shannon", "jensen_shannon"),
        (
            "the real token is added, not mixed in",
            "loss = (1 - self.hard) * loss + self.hard * known",
            "loss = loss + self.hard * known",
        ),
        ("the teacher learns", "teacher.eval().requires_grad_(False)", "pass"),
        (
            "the prompt is one token too long",
            "inputs[:rows, : self.prompt], time - self.prompt",
            "inputs[:rows, : self.prompt + 1], time - self.prompt - 1",
        ),
        ("every batch draws alike", "seed = int(inputs.sum())", "seed = 0 * int(inputs.sum())"),
        (
            "outputs of another batch are taken",
            "if not torch.equal(self.teacher.labels(targets - 1), inputs):",
            "if False:",
        ),
        (
            "rounded outputs stay rounded",
            "torch.float32)).log_softmax(-1)\n        return log_probs",
            "torch.float32))\n        return log_probs",
        ),
        (
            "outputs are stored at temperature 1",
            "found = (logits / temperature).log_softmax(-1)",
            "found = logits.log_softmax(-1)",
        ),
        ("windows forget what the one before has seen", "known = context - stride if start else 0", "known = 0"),
        ("stored ids take no bytes", "(2 * (k + 1) + (2 if vocab_size <= 2**16 else 4) * k)", "(2 * (k + 1))"),
        (
            "equal sizes are the same vocabulary",
            "if student.digest != teacher.digest:",
            "if student.vocab_size != teacher.vocab_size:",
        ),
        ("a text goes on past its end", "text[: text.index(end)] if end in text else text", "text"),
        ("padding is text", "text = row[begin:] if prompt", "text = row if prompt"),
    ),
    *_in(
        "training/recipe.py",
        "training/test_recipe.py",
        ("an unknown key is passed over", "if name not in known:", "if False:"),
        (
            "the first source's held-out part is read, whatever is said",
            "data[self.held_out].held_out",
            "data[next(iter(data))].held_out",
        ),
        (
            "the steps of all stages but the last",
            "sum(stage.steps for stage in stages)",
            "sum(s.steps for s in stages[:-1])",
        ),
    ),
    *_in(
        "training/processes.py",
        "training/test_processes.py::test_a_checkpoint_of_two_processes_resumes_in_one_and_the_other_way_round",
        ("the spread weights never come back", "ours.copy_(whole(theirs))", "pass"),
    ),
    *_in(
        "training/trainer.py",
        "training/test_trainer.py training/test_gradients.py training/test_checkpoint.py",
        (
            "accumulated gradients are not averaged",
            "loss_of(inputs, targets) / len(parts)  # parts",
            "loss_of(inputs, targets)  # parts",
        ),
        ("gradients are never cleared", "owner.zero_grad(set_to_none=True)", "pass"),
        ("the schedule is not applied", 'group["peak"] * share(config, step)', 'group["peak"]'),
        ("the gradient is not clipped", "config.clip or math.inf", "math.inf"),
        ("a resumed run starts over", "tqdm(range(done, config.steps)", "tqdm(range(config.steps)"),
        ("a checkpoint counts one step less", "checkpoint.save(folder, step + 1,", "checkpoint.save(folder, step,"),
        ("every step reads the first batch", "batches(step, rows)", "batches(0, rows)"),
        ("an infinite gradient is let through", "math.isfinite(loss) and math.isfinite(norm)", "math.isfinite(loss)"),
        ("evaluation comes one step late", "(step + 1) % every == 0", "step % every == 0"),
        ("a vocabulary that is too large is let through", "row.vocab_size > model.config.vocab_size", "False"),
    ),
    *_in(
        "training/processes.py",
        "training/test_processes.py::test_two_gloo_processes_equal_one",
        ("every process takes the first rows", "first = self.rank * config.accumulation", "first = 0"),
        ("the loss is summed over processes", "value.item() / self.count", "value.item()"),
    ),
    *_in(
        "training/checkpoint.py",
        "training/test_checkpoint.py",
        ("the newest checkpoints are deleted", "found(folder)[KEPT:]", "found(folder)[:-KEPT]"),
        ("a run goes on from the oldest", "reverse=True", "reverse=False"),
        ("a changed file is trusted", "if _sha256(path / name) != digest", "if not digest"),
        ("a NaN is trusted", "torch.isfinite(tensor).all()", "torch.isfinite(tensor).any()"),
        ("another configuration is trusted", "field not in RUNTIME_FIELDS and", "field in RUNTIME_FIELDS and"),
        ("the optimizer forgets", 'if key.startswith(name + "/")', 'if key == name + "/step"'),
    ),
    *_in(
        "training/history.py",
        "training/test_checkpoint.py training/test_trainer.py",
        ("a step stands in the log twice", 'line["step"] < done or', 'line["step"] <= done or'),
        ("the log of a resumed run begins anew", "for line in kept:", "for line in kept[:0]:"),
    ),
]

EVALUATION = [
    *_in(
        "evaluation/word_order.py",
        "evaluation/test_word_order.py",
        ("a draw counts as a choice", "(right < swapped)", "(right <= swapped)"),
        ("the likelier sentence is refused", "(right < swapped)", "(right > swapped)"),
        ("no separator in front", "[end, *ids[:-1]]", "[ids[0], *ids[:-1]]"),
        ("the filling counts", "padding_value=UNREAD", "padding_value=0"),
        ("equal words change places", " if words[i] != words[i + 1]", ""),
        ("the last word may change its place", "len(words) - 2", "len(words) - 1"),
    ),
    *_in(
        "evaluation/bits.py",
        "evaluation/test_bits.py",
        ("nats pass for bits", "losses.sum().item() / math.log(2)", "losses.sum().item()"),
        ("the filling of the last window counts", "losses[-1, -short:] = 0", "pass"),
        ("overlapping tokens count twice", ":, : context - stride] = 0", ":, : 0] = 0"),
        ("the first window's beginning is not counted", "losses[1 if i == 0 else 0 :,", "losses[0:,"),
    ),
    *_in(
        "evaluation/ngram.py",
        "evaluation/test_ngram.py",
        ("n-grams cross the pieces", "np.atleast_2d(self._checked(tokens))", "self._checked(tokens).reshape(1, -1)"),
        ("what is taken is not given back", "* counts.context_types[context]", "* 1"),
        ("an unseen context keeps its share", "p = np.where(seen, ", "p = np.where(found, "),
        (
            "separators make up for bytes",
            "self.bits(row.tokens, order) / row.text_bytes",
            "self.bits(row.tokens, order) / len(row)",
        ),
    ),
]

SURVEY = [
    *_in(
        "survey/verdicts.py",
        "survey/test_verdicts.py",
        ("below is taken for above", 'if rule == "below":', 'if rule == "under":'),
        ("equal asks for one end only", "if bottom <= low and high <= top:", "if bottom <= low:"),
        ("a value at the edge is contradicted", "high < bottom or low > top", "high <= bottom or low > top"),
        ("the tolerance is left out", 'float(claim["tolerance"] or 0))', "0.0)"),
        ("computed claims blame the survey's data", 'claim["kind"] == "statistics" and', "True and"),
        ("an interval of 5 values is that of 6", "T[df - 1]", "T[df]"),
    ),
    *_in(
        "survey/query.py",
        "survey/test_query.py",
        ("numbers compare as text", "if None not in numbers and", "if False and"),
        ("an unknown cell meets conditions", "if not cell or not value:", "if not value:"),
        (
            "the unknown comes first",
            "return [known[i] for i in order] + [row for row in rows if not row[column]]",
            "return [row for row in rows if not row[column]] + [known[i] for i in order]",
        ),
        ("360M is 360", '"M": 1e6', '"M": 1'),
        ("one condition is enough", "found = [row for row in found if", "found = [row for row in rows if"),
    ),
    *_in(
        "survey/evidence/estimates.py",
        "survey/test_evidence.py",
        (
            "the bootstrap shuffles a column on its own",
            "(array[rows] for array in arrays)",
            "(array[source.permutation(rows)] for array in arrays)",
        ),
        ("ties take the last rank", "(last - (counts - 1) / 2)", "last"),
        ("both groups are one", "for group in (a, b)]", "for group in (a, a)]"),
    ),
    *_in(
        "survey/evidence/memory.py",
        "survey/test_evidence.py",
        ("a tied matrix is counted once", "(unique + again) / 1e6", "unique / 1e6"),
        ("the cache holds keys only", "return 2 * heads * built.head_dim", "return heads * built.head_dim"),
        ("megabytes are millions", "MIB = 2**20", "MIB = 10**6"),
        ("the buffer holds both", "return max(logits_mb(name), scores)", "return logits_mb(name) + scores"),
    ),
    *_in(
        "survey/evidence/capability.py",
        "survey/test_evidence.py survey/test_claims.py",
        ("placeholders are scores", 'and "placeholder" not in row["note"]', ""),
        ("the gain is from one shot", "found - value[model, task, 0.0]", "found - value[model, task, 1.0]"),
        (
            "2022 minus 2024",
            "difference(_of_year(2024, domain), _of_year(2022, domain))",
            "difference(_of_year(2022, domain), _of_year(2024, domain))",
        ),
    ),
    *_in(
        "survey/evidence/devices.py",
        "survey/test_evidence.py",
        ("slower is faster", "100 * (1 - time / base[tokens])", "100 * (1 - base[tokens] / time)"),
        (
            "the worst is first",
            "reduction(figure, other) > reduction(figure, quant)",
            "reduction(figure, other) < reduction(figure, quant)",
        ),
    ),
    *_in(
        "survey/evidence/latency.py",
        "survey/test_evidence.py",
        ("bands are compared at their middle", "min(upper) - max(lower)", "max(upper) - min(lower)"),
    ),
    *_in(
        "survey/evidence/architecture.py",
        "survey/test_evidence.py",
        ("a period counts every year", "trends.period(row).startswith(period)", "True"),
        ("the missing model is left out", "found[HARE[axis]] += 1", "pass"),
    ),
    *_in(
        "survey/evidence/training.py",
        "survey/test_evidence.py survey/test_claims.py",
        (
            "every use counts for every year",
            'int(row[f"uses_{year}"] or 0) for row in rows("datasets")',
            'int(row["uses_2024"] or 0) for row in rows("datasets")',
        ),
    ),
    *_in(
        "survey/trends.py",
        "survey/test_trends.py",
        ("a padded vocabulary of 50k is a large one", "(51_200, 100_000", "(50_000, 100_000"),
        ("a model that Figure 2 leaves out is counted", 'and row["name"] != "Dolly-v2-3B"', ""),
        ("ours and the survey's rows share a period", 'if ours and row["release"]', 'if row["release"]'),
        ("tokens of a repair count as training", '"pruning" in row["training_algorithm"]', "False"),
        ("kinds of RMSNorm are not RMSNorm", 'row["norm"].startswith("RMSNorm")', 'row["norm"] == "RMSNorm"'),
        ("an unknown entry is called wrong", '"" not in pair', "True"),
    ),
    *_in(
        "course/facts_trends.py",
        "course/test_figures_survey.py::test_facts_of_the_pages",
        ("an interval of half the width", "<= 1.96 *", "<= 0.96 *"),
        ("a rise is called a fall", '"rose" if after > before', '"rose" if after < before'),
        ("the last row stands for a family", "reversed(trends.since())", "trends.since()"),
    ),
    *_in(
        "course/figures_survey.py",
        "course/test_figures_survey.py",
        ("bars stand inside each other", "bottom = [low + value", "bottom = [value"),
        ("the best so far may fall", ".max().cummax()", ".max()"),
    ),
]

INTEROP = [
    *_in(
        "interop/layouts.py",
        "test_interop.py",
        ("interleaved pairs stay where they are", "halves.t().flatten() if pairs", "halves.flatten() if pairs"),
        ("pairs are moved the same way back", "order = order.argsort() if back else order", "order = order"),
        ("gate and up change places", 'for part in ("gate", "up")]', 'for part in ("up", "gate")]'),
        ("keys are as many as queries", "(heads, kv_heads, kv_heads)]", "(heads, heads, kv_heads)]"),
    ),
    *_in(
        "interop/rotary.py",
        "test_interop.py",
        ("the two rotations change places", "inside == (kind == WINDOWED)", "inside != (kind == WINDOWED)"),
        ("an unknown setting of a rotation is passed over", "if name not in KNOWN and", "if False and"),
        ("part of a head turns in any family", "if fraction != 1 and not partial", "if False"),
    ),
    *_in(
        "interop/parts.py",
        "test_interop.py",
        ("windows where there are none", "if kind == WINDOWED else None", "if kind == FULL else None"),
        ("logits are multiplied, not divided", "logit_scale=1 / theirs", "logit_scale=theirs"),
        (
            "layers with experts are taken for dense",
            "if theirs.first_k_dense_replace <",
            "if 0 and theirs.vocab_size <",
        ),
    ),
    *_in(
        "interop/convert.py",
        "test_interop.py",
        ("an unknown field is passed over", "if (value or None) != (known or None)", "if False"),
        ("two numbers are always the same", "math.isclose(meant, said, rel_tol=1e-12)", "True"),
        ("families agree on any rotation", "tuple(rotation and rotation.theta for rotation in rotations)", "None"),
    ),
]

MUTATIONS = [*MODEL, *INTEROP, *DATA, *TRAINING, *EVALUATION, *SURVEY]
