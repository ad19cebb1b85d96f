"""The decoder-only transformer: embedding, blocks, final norm, output head."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from slmkit.config import ModelConfig
from slmkit.model.attention import Attention, LatentAttention, Reading
from slmkit.model.cache import KVCache
from slmkit.model.feedforward import FeedForward
from slmkit.model.normalization import Norm
from slmkit.model.positions import rope_tables


class Block(nn.Module):
    """One layer: attention mixes positions, the FFN works on each alone, both add to the residual stream.

    sequential: x += attention(norm(x)); x += ffn(norm(x)).  parallel: both read the same x (Wang and Komatsuzaki 2021),
    through a norm each (GPT-NeoX) or one shared norm (Phi).
    """

    def __init__(self, config: ModelConfig, layer: int):
        super().__init__()
        self.attention_norm = Norm(config)
        self.attention = (Attention if config.attention == "full" else LatentAttention)(config, layer)
        self.ffn_norm = None if config.block == "parallel_shared_norm" else Norm(config)
        self.ffn = FeedForward(config, layer)
        self.parallel = config.block != "sequential"

    def forward(self, x: Tensor, reading: Reading, layer: int) -> Tensor:
        """x: residual stream [batch, time, d_model]. `layer` is the depth, which a shared block cannot know itself."""
        normed = self.attention_norm(x)
        mixed = self.attention(normed, reading, layer)
        if self.parallel:
            return x + mixed + self.ffn(normed if self.ffn_norm is None else self.ffn_norm(x))
        x = x + mixed
        return x + self.ffn(self.ffn_norm(x))


class Decoder(nn.Module):
    """A causal language model. `Decoder(config)(ids)`: ids [batch, time] -> logits [batch, time, vocab_size].

    Weights are drawn from torch's global generator: call torch.manual_seed before, for the same weights each time.
    """

    def __init__(self, config: ModelConfig):
        super().__init__()
        self.config = config
        self.embedding = nn.Embedding(config.vocab_size, config.d_model)
        learned = config.positions == "learned"
        self.position_embedding = nn.Embedding(config.max_context, config.d_model) if learned else None
        self.blocks = nn.ModuleList()
        for i in range(config.n_layers):
            # A shared block is one module listed twice: PyTorch counts, updates and saves its weights once.
            self.blocks.append(Block(config, i) if i in config.unique_layers else self.blocks[i - 1])
            if config.sharing == "ffn_all":
                self.blocks[i].ffn = self.blocks[0].ffn
        self.norm = Norm(config)
        self.head = None if config.tied_embeddings else nn.Linear(config.d_model, config.vocab_size, bias=False)
        self.make_tables()
        initialize(self)

    def make_tables(self):
        """Computes what follows from the configuration alone and is never saved: rotary tables and ALiBi slopes."""
        cos, sin = rope_tables(self.config) if self.config.positions == "rope" else (None, None)
        self.register_buffer("rope_cos", cos, persistent=False)
        self.register_buffer("rope_sin", sin, persistent=False)
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

    def hidden(self, ids: Tensor, cache: KVCache | None = None, padding: Tensor | None = None) -> Tensor:
        """The last layer's normalized output, [batch, time, d_model]: what the head reads."""
        start = cache.length if cache is not None else 0
        end = start + ids.shape[1]
        if end > self.config.max_context:
            raise ValueError(f"{end} tokens are more than the model's max_context of {self.config.max_context}")
        x = self.embedding(ids)
        if self.config.embedding_scale != 1:
            # Rounded to the type of the weights first, as Gemma does: in bfloat16 √3072 is 55.5, not 55.4256.
            x = x * torch.tensor(self.config.embedding_scale, dtype=x.dtype)
        # Rows start counting at their first real token; padding itself counts as position 0.
        where = slice(start, end)
        if padding is not None:
            where = (torch.arange(start, end, device=ids.device) - padding[:, None]).clamp(min=0)  # [batch, time]
        if self.position_embedding is not None:
            x = x + self.position_embedding.weight[where]
        rope = None
        if self.rope_cos is not None:
            rope = self.rope_cos[where], self.rope_sin[where]
            if padding is not None:
                rope = rope[0][:, None], rope[1][:, None]  # room for the axis of heads
        reading = Reading(rope, cache, padding)
        for i, block in enumerate(self.blocks):
            x = block(x, reading, i)
        if cache is not None:
            cache.advance(ids.shape[1])
        return self.norm(x)

    def logits(self, hidden: Tensor) -> Tensor:
        """[..., d_model] -> [..., vocab_size]"""
        return F.linear(hidden, self.embedding.weight if self.head is None else self.head.weight)


@torch.no_grad()
def initialize(model: Decoder):
    """Draws the weights so that activations, and first of all the input, start at a size of about one.

    Linear layers: deviation 1/√fan_in. What writes to the residual stream is divided by √(2 n_layers) more, so that
    the sum of all blocks stays near one (Radford et al. 2019). The embedding: an input of RMS one when untied; a tied
    matrix is also the head, whose logits would then spread by √d_model, so its deviation goes half way, d_model^(-1/4)
    over √embedding_scale. With embedding_scale = √d_model both come out at one.
    """
    config = model.config
    for name, module in model.named_modules():
        if isinstance(module, nn.Linear):
            std = module.in_features**-0.5
            if name.endswith((".out", ".down")):
                std /= (2 * config.n_layers) ** 0.5
            module.weight.normal_(0, std)
            if module.bias is not None:
                module.bias.zero_()
    half_way = config.d_model**-0.25 / config.embedding_scale**0.5
    model.embedding.weight.normal_(0, half_way if config.tied_embeddings else 1 / config.embedding_scale)
    if model.position_embedding is not None:
        model.position_embedding.weight.normal_(0, 0.1)
