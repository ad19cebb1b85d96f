# ---
# jupyter:
#   kernelspec:
#     display_name: Python 3
#     language: python
#     name: python3
# ---

# %% [markdown]
# # Build a decoder
#
# **Question.** All models of the survey are decoder-only transformers (section 2.1). What is in one, and is it worth its
# trouble? A table of counted word pieces, an n-gram model, also predicts the next token, and needs no training at all.
# The survey cites a result that a model of a few million parameters can write well when its text is narrow
# (section 4.4). Yours will read the speeches of presidents.
#
# You will write every part of a decoder, train it, and measure it against n-grams. Then you load a real small model into
# the same class and talk to it.

# %%
import math

import matplotlib.pyplot as plt
import torch
import torch.nn.functional as F
from torch import nn

import slmkit
from slmkit.course import check, record, start
from slmkit.data.packing import Batches
from slmkit.data.prepared import prepare
from slmkit.evaluation import bits_per_byte
from slmkit.evaluation.ngram import NGram
from slmkit.model.attention import split_heads
from slmkit.model.positions import apply_rope, rope_tables

lab = start("03", profiles={
    "smoke": {"corpus": "tinyworld", "vocab": 512, "d_model": 64, "layers": 1, "context": 64, "batch": 8, "steps": 30,
              "orders": 3, "words": 8, "seeds": (0, 1)},
    "cpu": {"corpus": "speeches", "vocab": 4096, "d_model": 160, "layers": 2, "context": 128, "batch": 8, "steps": 1000,
            "orders": 5, "words": 60, "seeds": (0,)},
    "full": {"corpus": "speeches", "vocab": 4096, "d_model": 192, "layers": 3, "context": 128, "batch": 8, "steps": 4500,
             "orders": 5, "words": 200, "seeds": (0, 1, 2)},
})  # fmt: skip

# %% [markdown]
# ## Predict
#
# Stored text takes 8 bits a byte. How many will the best n-gram model need on speeches that it has not seen? And your
# decoder, after a few minutes of training?

# %%
guess = {"best n-gram": 2.0, "decoder": 2.0}  # bits per byte

# %% [markdown]
# ## Build
#
# ### Which keys a query may see
#
# A decoder predicts each token from the ones before it. All positions are computed at once, so attention needs a mask
# that hides the future. Position $i$ asks (its *query*), position $j$ is asked (its *key*): $j$ is visible when
# $j \le i$.


# %%
def causal_mask(time):
    """True where query i may see key j: [time, time], bool."""
    ### BEGIN SOLUTION
    return torch.ones(time, time, dtype=torch.bool).tril()
    ### END SOLUTION


# %%
check("03/causal_mask", causal_mask)

# %% [markdown]
# ### Attention
#
# Each query takes a mean of the values it may see, weighted by how well the keys match
# {cite}`vaswani2017attention`:
#
# $$\mathrm{attention}(Q, K, V) = \mathrm{softmax}\!\left(\frac{Q K^\top}{\sqrt{d}} + \text{mask}\right) V .$$
#
# The products of two random vectors of width $d$ spread by $\sqrt d$. Divided by it, they spread by one, and the
# softmax starts soft. Hidden keys get $-\infty$ before the softmax: their weight is zero, the others still sum to one.


# %%
def attention(q, k, v):
    """q, k, v: [batch, heads, time, d] -> [batch, heads, time, d], causal."""
    ### BEGIN SOLUTION
    scores = q @ k.transpose(-1, -2) / math.sqrt(q.shape[-1])
    scores = scores.masked_fill(~causal_mask(q.shape[-2]), -math.inf)
    return scores.softmax(-1) @ v
    ### END SOLUTION


# %%
check("03/attention", attention)

# %% [markdown]
# ### Normalization
#
# RMSNorm {cite}`zhang2019rmsnorm` divides each position's vector by its root mean square, taken over the width, and
# multiplies by a learned weight: $y = w \cdot x / \sqrt{\mathrm{mean}(x^2) + \varepsilon}$.


# %%
def rms_norm(x, weight, eps=1e-5):
    """x: [..., width], weight: [width] -> [..., width]"""
    ### BEGIN SOLUTION
    return weight * x / (x.square().mean(-1, keepdim=True) + eps).sqrt()
    ### END SOLUTION


# %%
check("03/rms_norm", rms_norm)

# %% [markdown]
# ### The feed-forward network
#
# It works on each position alone. The gated form {cite}`shazeer2020glu` multiplies two projections, of which one passes
# through SiLU, $x\,\sigma(x)$:
# $\mathrm{down}(\mathrm{silu}(\mathrm{gate}\,x) \cdot \mathrm{up}\,x)$.


# %%
def gated_ffn(x, gate, up, down):
    """x: [..., d_model]; gate, up, down: nn.Linear, the first two to d_ff, the last back -> [..., d_model]"""
    ### BEGIN SOLUTION
    return down(F.silu(gate(x)) * up(x))
    ### END SOLUTION


# %%
check("03/gated_ffn", gated_ffn)

# %% [markdown]
# ### The whole
#
# A *block* adds attention's result to its input, then the FFN's: two steps on a *residual stream*, each reading a
# normalized copy of it. A decoder is an embedding, the blocks, a last norm, and a head that scores every token of the
# vocabulary. Positions come in by turning queries and keys (rotary positions, {cite}`su2021roformer`). A small
# model often uses the embedding matrix again as head; here the head has a matrix of its own.


# %%
class MyDecoder(nn.Module):
    """Borrows the weights of an slmkit.Decoder and computes with the functions above."""

    def __init__(self, decoder):
        super().__init__()
        self.weights, self.config = decoder, decoder.config
        self.tables = rope_tables(decoder.config)

    def forward(self, ids):
        time = ids.shape[1]
        tables = [table[:time] for table in self.tables]
        x = self.weights.embedding(ids)
        for block in self.weights.blocks:
            mine, normed = block.attention, rms_norm(x, block.attention_norm.weight)
            q, k, v = (split_heads(project(normed), self.config.head_dim) for project in (mine.q, mine.k, mine.v))
            mixed = attention(apply_rope(q, tables), apply_rope(k, tables), v)
            x = x + mine.out(mixed.transpose(1, 2).flatten(2))
            normed = rms_norm(x, block.ffn_norm.weight)
            x = x + gated_ffn(normed, block.ffn.gate, block.ffn.up, block.ffn.down)
        return rms_norm(x, self.weights.norm.weight) @ self.weights.head.weight.T


config = slmkit.ModelConfig(vocab_size=lab.vocab, d_model=lab.d_model, n_layers=lab.layers, n_heads=lab.d_model // 32,
                            max_context=lab.context, tied_embeddings=False)  # fmt: skip
reference = slmkit.Decoder(config)
ids = torch.randint(0, lab.vocab, (2, 24))
with torch.no_grad():
    difference = (MyDecoder(reference)(ids) - reference(ids)).abs().max().item()
print(f"{slmkit.count_parameters(config).total:,} parameters; your logits differ from slmkit's by {difference:.1e}")
assert difference < 1e-3

# %% [markdown]
# ### Bits per byte
#
# Training minimizes the mean negative log-probability of the next token, in *nats* (natural logarithm). Tokenizers cut
# a text differently, its bytes stay. So models are compared in bits for each byte.


# %%
def to_bits_per_byte(nats_per_token, tokens, text_bytes):
    """A mean loss in nats a token, over a text of that many tokens and bytes -> bits per byte"""
    ### BEGIN SOLUTION
    return nats_per_token / math.log(2) * tokens / text_bytes
    ### END SOLUTION


# %%
check("03/bits_per_byte", to_bits_per_byte)

# %% [markdown]
# ## Measure
#
# ### The text, and counting as a rival
#
# Every twelfth year of speeches is held out, and no model sees it. The n-gram models predict from the last 0 to 4 tokens
# and mix the orders, with absolute discounting {cite}`ney1994structuring`.

# %%
tokenizer, data = prepare(lab.corpus, lab.vocab)
counted = NGram(data.train.tokens, lab.orders, lab.vocab)
by_order = {order: counted.bits_per_byte(data.held_out, order) for order in range(1, lab.orders + 1)}
best_ngram = min(by_order.values())
print("bits per byte by order:", {order: round(bits, 3) for order, bits in by_order.items()})

# %% [markdown]
# ### Train
#
# Two choices to know before the run:
# - **The size of the embedding at the start.** Many published models begin with a standard deviation of 0.02, and a
#   short run is over before it has grown. `slmkit` starts so that the input has a size of about one.
# - **The optimizer.** AdamW scales the step of each number on its own. Muon {cite}`jordan2024muon` makes each matrix of
#   a block step equally far in all of its directions; its authors report fewer tokens to the same loss.

# %%
runs = []
for seed in lab.seeds:
    torch.manual_seed(seed)
    model = slmkit.Decoder(config).to(lab.device)
    training = slmkit.TrainingConfig(
        steps=lab.steps, batch_size=lab.batch, context=lab.context, seed=seed, optimizer="muon", learning_rate=4e-2,
        muon_rate=0.03, schedule="wsd", decay=1.0, final_rate=0.0, evaluate_every=lab.steps // 5, evaluate_tokens=8192,
        checkpoint_every=500,
    )  # fmt: skip
    history = lab.train(model, data, training)  # slmkit.train, kept for the next run
    bits = bits_per_byte(model, data.held_out, lab.context, stride=lab.context * 3 // 4)
    runs.append((model, history, bits))
    print(
        f"seed {seed}: {history.tokens:,} tokens, {history.tokens_per_second:,.0f} a second, {bits:.3f} bits per byte"
    )

# %% tags=["hide-input"] mystnb={"image": {"alt": "Held-out bits per byte of the decoder against tokens read, one line a seed. The lines fall steeply, then flatten. Dashed horizontal lines mark the n-gram models."}}
figure, axes = plt.subplots()
for (_, history, _), seed in zip(runs, lab.seeds):
    steps, values = zip(*history.held_out)
    axes.plot([step * training.tokens_per_step / 1e6 for step in steps], values, "o-", label=f"decoder, seed {seed}")
for order in {1, 2, min(by_order, key=by_order.get)}:  # higher orders would lie on top of the best
    axes.axhline(by_order[order], color="0.6", linestyle="--", linewidth=1)
    axes.annotate(f"{order}-gram", (0, by_order[order]), xytext=(2, 2), textcoords="offset points", fontsize=8)
axes.set(xlabel="tokens read (millions)", ylabel="held-out text (bits per byte)", xlim=(0, None))
axes.legend()
plt.show()

# %% [markdown]
# The points cover the beginning of the held-out part, the printed numbers all of it. The n-gram models have counted all
# training text. What does counting reach on only those windows that the decoder read?

# %%
for seed, (_, _, ours) in zip(lab.seeds, runs):
    batches = Batches(data.train, lab.batch, lab.context, seed)
    once = min(lab.steps, batches.windows // lab.batch)  # later steps repeat
    few = NGram(torch.cat([batches(step)[0] for step in range(once)]), lab.orders, lab.vocab)
    same_tokens = min(few.bits_per_byte(data.held_out, order) for order in by_order)
    print(f"seed {seed}: decoder {ours:.3f}, best n-gram on the same tokens {same_tokens:.3f}, on all {best_ngram:.3f}")
print("your guesses:", guess)

# %% [markdown]
# ## Verdict
#
# Numbers first, then what the decoder writes: one token at a time, drawn from its probabilities. A temperature below
# one sharpens them. The `full` profile trains a larger decoder for longer. It ended {fact}`record.C105.size` bits per
# byte below the best n-gram (mean of {fact}`record.C105.seeds` seeds). "{fact}`record.C105.note`"

# %%
prompt = "My fellow citizens, the state of our Union"
start_ids = torch.tensor([tokenizer.encode(prompt)], device=lab.device)
room = lab.context - start_ids.shape[1]  # the window is all that the model can read
written = slmkit.generate(runs[0][0], start_ids, room, temperature=0.7, top_p=0.9, seed=1)
sample = "It writes: " + tokenizer.decode(written[0].tolist())
made = record("C105", [bits for _, _, bits in runs], [best_ngram] * len(runs), "bits per byte", note=sample)

# %% [markdown]
# ## A real small model in the same class
#
# SmolLM2-135M-Instruct {cite}`allal2025smollm2` differs from your model in its numbers, not in its parts. The first use
# fetches it (93 MB, Apache-2.0). Read its answer with care: fluency says nothing about truth.

# %%
smol, smol_tokenizer = slmkit.pretrained.load()
print(f"{slmkit.count_parameters(smol.config).total:,} parameters, {smol.config.n_layers} layers")
question = [{"role": "user", "content": "What is a small language model? Answer in one sentence."}]
ids = torch.tensor([slmkit.pretrained.chat_prompt(question, smol_tokenizer)])
answer = slmkit.generate(smol, ids, lab.words, stop_tokens=slmkit.pretrained.stop_tokens(smol_tokenizer))
print(smol_tokenizer.decode(answer[0, ids.shape[1] :].tolist()).removesuffix("<|im_end|>"))

# %% [markdown]
# ## To take further
#
# 1. Give the embedding a standard deviation of 0.02 (`model.embedding.weight.data.normal_(0, 0.02)`), train again with
#    the same seeds, and compare the difference with the spread over seeds.
# 2. From which position in the window on does the decoder win? Plot the bits of a token against its position.
# 3. **Open.** Mix the probabilities of both rivals. When does the mixture beat each, and what does that say of them?
