"""The decoder-only transformer: embedding, blocks, final norm, output head."""

import torch
from torch import Tensor, nn

from slmkit.config import ModelConfig
from slmkit.model.attention import Attention, LatentAttention, Reading, places, soft_cap
from slmkit.model.cache import KVCache
from slmkit.model.feedforward import FeedForward
from slmkit.model.linear import Linear, product
from slmkit.model.normalization import Norm
from slmkit.model.positions import RopeTables


class Block(nn.Module):
    """One layer: attention mixes positions, the FFN works on each alone, both add to the residual stream.

    sequential: x += attention(norm(x)); x += ffn(norm(x)).  parallel: both read the same x (Wang and Komatsuzaki 2021),
    through a norm each (GPT-NeoX) or one shared norm (Phi).  `norm_placement` puts the norms elsewhere.
    """

    def __init__(self, config: ModelConfig, layer: int):
        super().__init__()
        before, after = config.norm_placement in ("pre", "both"), config.norm_placement != "pre"
        shared = config.block == "parallel_shared_norm"
        self.attention_norm = Norm(config) if before else None
        self.attention = (Attention if config.attention == "full" else LatentAttention)(config, layer)
        self.attention_post_norm = Norm(config) if after else None
        self.ffn_norm = Norm(config) if before and not shared else None
        self.ffn = FeedForward(config, layer)
        self.ffn_post_norm = Norm(config) if after else None
        self.parallel, self.scale = config.block != "sequential", config.residual_scale
        self.after_residual = config.norm_placement == "after_residual"

    def forward(self, x: Tensor, reading: Reading, layer: int, only: Tensor | None = None) -> Tensor:
        """x: residual stream [batch, time, d_model]. `layer` is the depth, which a shared block cannot know itself.

        `only`: the places whose output is wanted, if not all are.
        """
        # Each norm is looked up once: in a step of one token, PyTorch's search for a module takes its time.
        normed = norm(x) if (norm := self.attention_norm) is not None else x
        mixed = self.attention(normed, reading, layer)
        if only is not None:  # from here on no position needs another
            x, normed, mixed = x[:, only], normed[:, only], mixed[:, only]
        if self.parallel:
            fed = self.ffn(norm(x) if (norm := self.ffn_norm) is not None else normed)
            return self.joined(self.joined(x, mixed, None), fed, None)
        x = self.joined(x, mixed, self.attention_post_norm)
        fed = self.ffn(norm(x) if (norm := self.ffn_norm) is not None else x)
        return self.joined(x, fed, self.ffn_post_norm)

    def joined(self, x: Tensor, branch: Tensor, post_norm: Norm | None) -> Tensor:
        """The residual stream with a branch's output added, normalized and scaled as the configuration says."""
        if post_norm is not None and not self.after_residual:
            branch = post_norm(branch)
        x = x + (branch if self.scale == 1 else branch * self.scale)
        return post_norm(x) if self.after_residual else x


class Decoder(nn.Module):
    """A causal language model. `Decoder(config)(ids)`: ids [batch, time] -> logits [batch, time, vocab_size].

    Weights are drawn from torch's global generator: call torch.manual_seed before, for the same weights each time.
    """

    def __init__(self, config: ModelConfig):
        super().__init__()
        self.config = config
        width, narrow = config.embedding_width or config.d_model, config.embedding_width is not None
        self.embedding = nn.Embedding(config.vocab_size, width)
        self.embedding_in = Linear(width, config.d_model, bias=False) if narrow else None
        self.embedding_norm = Norm(config) if config.embedding_norm else None
        places = config.max_context + config.position_offset
        self.position_embedding = nn.Embedding(places, config.d_model) if config.positions == "learned" else None
        self.blocks = nn.ModuleList()
        for i in range(config.n_layers):
            # A shared block is one module listed twice: PyTorch counts, updates and saves its weights once.
            self.blocks.append(Block(config, i) if i in config.unique_layers else self.blocks[i - 1])
            if config.sharing == "ffn_all":
                self.blocks[i].ffn = self.blocks[0].ffn
        self.norm = None if config.norm_placement == "after_residual" else Norm(config)
        self.embedding_out = Linear(config.d_model, width, bias=False) if narrow else None
        own = not config.tied_embeddings
        self.head = Linear(width, config.vocab_size, bias=config.head_bias) if own else None
        self.make_tables()
        if not self.embedding.weight.is_meta:  # there, shapes are all
            initialize(self)

    def make_tables(self):
        """Computes what follows from the configuration alone and is never saved: rotary tables and ALiBi slopes."""
        rotations = [self.config.rotation(i) for i in range(self.config.n_layers)]
        distinct = [rotation for rotation in dict.fromkeys(rotations) if rotation]
        self.ropes = nn.ModuleList(RopeTables(self.config, rotation) for rotation in distinct)
        self.rope_of = [distinct.index(rotation) if rotation else -1 for rotation in rotations]  # by layer; -1: none
        for module in self.modules():
            if isinstance(module, Attention):
                module.make_slopes(self.config)

    def forward(self, ids: Tensor, cache: KVCache | None = None, padding: Tensor | None = None) -> Tensor:
        """Logits [batch, time, vocab_size] for the token after each of `ids` [batch, time].

        With a `cache`, `ids` continue the tokens that it holds. `padding` [batch] counts the meaningless tokens at the
        left of each row, cached ones included; their logits mean nothing. Raises ValueError when the text is longer
        than max_context, IndexError for a token outside the vocabulary.
        """
        return self.logits(self.hidden(ids, cache, padding))

    def hidden(self, ids: Tensor, cache: KVCache | None = None, padding: Tensor | None = None,
               tree: Tensor | None = None, only: Tensor | None = None) -> Tensor:  # fmt: skip
        """The last layer's normalized output, [batch, time, d_model]: what the head reads.

        Instead of one text a row may hold a tree of texts that begin alike. `tree` [time, cached + time], of bool, says
        which tokens each of `ids` sees: those that it follows, and itself. The cached ones are one text. `only` [n]:
        the places whose output is wanted, if not all are; it is then [batch, n, d_model].
        """
        start = cache.length if cache is not None else 0
        end = start + ids.shape[1]
        if end > self.config.max_context:
            raise ValueError(f"{end} tokens are more than the model's max_context of {self.config.max_context}")
        # Rows start counting at their first real token; padding itself counts as position 0.
        where = slice(start, end)
        if padding is not None:
            where = (torch.arange(start, end, device=ids.device) - padding[:, None]).clamp(min=0)  # [batch, time]
        if tree is not None:
            where = places(tree)[None]
        x = self.embedded(ids, where)
        # One reading for each rotation among the layers, and one for layers without positions.
        ropes = (*(tables.at(where) for tables in self.ropes), None)
        readings = [Reading(rope, cache, padding, tree) for rope in ropes]
        for i, block in enumerate(self.blocks):
            x = block(x, readings[self.rope_of[i]], i, only if i == len(self.blocks) - 1 else None)
        if cache is not None:
            cache.advance(ids.shape[1])
        return norm(x) if (norm := self.norm) is not None else x

    def embedded(self, ids: Tensor, where: slice | Tensor) -> Tensor:
        """What the first block reads: tokens, and learned positions if there are any, [batch, time, d_model]."""
        x = self.embedding(ids)
        if self.embedding_in is not None:
            x = self.embedding_in(x)
        if self.config.embedding_scale != 1:
            # Rounded to the type of the weights first, as Gemma does: in bfloat16 √3072 is 55.5, not 55.4256.
            x = x * torch.tensor(self.config.embedding_scale, dtype=x.dtype)
        if self.embedding_norm is not None:
            x = self.embedding_norm(x)
        if self.position_embedding is not None:
            x = x + self.position_embedding.weight[self.config.position_offset :][where]
        return x

    def logits(self, hidden: Tensor) -> Tensor:
        """[..., d_model] -> [..., vocab_size]"""
        if self.embedding_out is not None:
            hidden = self.embedding_out(hidden)
        logits = product(hidden, self.embedding.weight) if self.head is None else self.head(hidden)
        if self.config.logit_scale != 1:
            logits = logits * self.config.logit_scale
        return logits if self.config.logit_cap is None else soft_cap(logits, self.config.logit_cap)


@torch.no_grad()
def initialize(model: Decoder):
    """Draws the weights so that activations, and first of all the input, start at a size of about one.

    Linear layers: deviation 1/√fan_in. What writes to the residual stream is divided by √(2 n_layers) more, so that
    the sum of all blocks stays near one (Radford et al. 2019); a residual_scale that does this already is divided out,
    and norms on a branch start at 1/√(2 n_layers). The embedding: an input of RMS one when untied; a tied matrix is
    also the head, whose logits would then spread by √width · logit_scale, so its deviation goes half way, width^(-1/4)
    over √(embedding_scale · logit_scale). With embedding_scale = √d_model both come out at one.
    """
    config = model.config
    depth = (2 * config.n_layers) ** 0.5 * config.residual_scale
    for name, module in model.named_modules():
        if isinstance(module, nn.Linear):
            std = module.in_features**-0.5
            if name.endswith((".out", ".down")):
                std /= depth
            module.weight.normal_(0, std)
            if module.bias is not None:
                module.bias.zero_()
        if name.endswith("_post_norm") and module.weight is not None and config.norm_placement != "after_residual":
            module.weight.fill_(1 / depth - config.norm_unit_offset)
    width = model.embedding.embedding_dim
    half_way = width**-0.25 / (config.embedding_scale * config.logit_scale) ** 0.5
    model.embedding.weight.normal_(0, half_way if config.tied_embeddings else 1 / config.embedding_scale)
    if model.position_embedding is not None:
        model.position_embedding.weight.normal_(0, 0.1)
