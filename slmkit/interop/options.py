"""What transformers calls our options: the names that many families share, and parts that need more than a name."""

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, NamedTuple

from slmkit.config import ModelConfig

if TYPE_CHECKING:
    from transformers import PreTrainedConfig

# -- one option of ours for one of theirs

COMMON = {
    "vocab_size": "vocab_size", "d_model": "hidden_size", "n_layers": "num_hidden_layers",
    "n_heads": "num_attention_heads", "max_context": "max_position_embeddings",
    "tied_embeddings": "tie_word_embeddings",
}  # fmt: skip
FFN = {"d_ff": "intermediate_size", "activation": "hidden_act"}
KV_HEADS = {"n_kv_heads": "num_key_value_heads"}
HEAD_DIM = {"head_dim": "head_dim"}
RMS_EPS, LAYERNORM_EPS = {"norm_eps": "rms_norm_eps"}, {"norm_eps": "layer_norm_eps"}
ATTENTION_BIAS = {"qkv_bias": "attention_bias", "out_bias": "attention_bias"}  # one switch for all four matrices
MLP_BIAS = {"ffn_bias": "mlp_bias"}
LATENT = {name: name for name in ("kv_lora_rank", "q_lora_rank", "qk_rope_head_dim", "v_head_dim")}
GROUPED = COMMON | FFN | KV_HEADS  # what nearly all families since Llama say
LLAMA = GROUPED | HEAD_DIM | RMS_EPS

ACTIVATIONS = {  # theirs to ours; of several names for one function, the first is written
    "relu": "relu", "relu2": "relu2", "gelu": "gelu", "gelu_python": "gelu", "gelu_pytorch_tanh": "gelu_tanh",
    "gelu_new": "gelu_tanh", "gelu_python_tanh": "gelu_tanh", "silu": "silu", "swish": "silu",
}  # fmt: skip

# Fields of theirs that change nothing that an evaluated model computes: how weights are drawn, dropout, token ids by
# name, what is returned beside the logits.
HARMLESS = {
    "initializer_range", "init_std", "embedding_initializer_range", "use_cache", "bos_token_id", "eos_token_id",
    "pad_token_id", "eod_token_id", "attention_dropout", "hidden_dropout", "dropout", "layerdrop", "resid_pdrop",
    "embd_pdrop", "attn_pdrop", "residual_dropout", "embedding_dropout", "classifier_dropout", "summary_type",
    "summary_use_proj", "summary_activation", "summary_proj_to_labels", "summary_first_dropout",
    "reorder_and_upcast_attn", "pretraining_tp",
}  # fmt: skip


class Part(NamedTuple):
    """Options that are more than a name apart: the fields of theirs that it covers, and both ways of saying them."""

    fields: Sequence[str]
    read: Callable[["PreTrainedConfig"], dict]  # their fields to our options
    write: Callable[[ModelConfig], dict]  # our options to their fields


WINDOWED, FULL = "sliding_attention", "full_attention"


def layer_kinds(theirs: "PreTrainedConfig") -> list[str]:
    """WINDOWED or FULL for each layer."""
    for kind in theirs.layer_types:
        if kind not in (WINDOWED, FULL):
            raise ValueError(f"layer_types has {kind!r}; a Decoder's layers have {WINDOWED} or {FULL}")
    return theirs.layer_types
