"""Small transformers models to convert: for each family options chosen away from their defaults, and drawn ones."""

import random
from copy import deepcopy
from dataclasses import fields

import torch

PAD = 0
LLAMA3 = {"rope_type": "llama3", "rope_theta": 5000.0, "factor": 4.0, "original_max_position_embeddings": 16,
          "low_freq_factor": 1.0, "high_freq_factor": 3.0}  # fmt: skip
YARN = {"rope_type": "yarn", "rope_theta": 3000.0, "factor": 3.0, "original_max_position_embeddings": 24,
        "beta_fast": 8.0, "beta_slow": 0.5, "attention_factor": 1.3}  # fmt: skip
LINEAR = {"rope_type": "linear", "rope_theta": 700.0, "factor": 2.5}
PLAIN = {"rope_type": "default", "rope_theta": 123.0}
LONG = {"rope_type": "longrope", "rope_theta": 900.0, "original_max_position_embeddings": 4}
ALPHA = {"rope_type": "dynamic", "rope_theta": 900.0, "alpha": 5.0, "factor": 1.0, "mscale": 1.0}
TWO = {"sliding_attention": PLAIN, "full_attention": YARN}
HALF = {"partial_rotary_factor": 0.5}
SIZES = dict(vocab_size=61, hidden_size=24, num_hidden_layers=3, num_attention_heads=4, max_position_embeddings=64)
NO_TOKENS = dict(bos_token_id=None, eos_token_id=None, pad_token_id=PAD)
MIXED = ["sliding_attention", "full_attention", "sliding_attention"]
ROTATING = dict(layer_types=["full_attention"] * 3, no_rope_layers=[1, 1, 1], moe_layers=[])
GROUPED = dict(intermediate_size=40, num_key_value_heads=2)

# Name of the case -> family, options away from their defaults. Where options exclude each other there are several.
CHOSEN = {
    "llama": ("llama", GROUPED | dict(head_dim=10, hidden_act="gelu", mlp_bias=True, rms_norm_eps=1e-3,
                                      attention_bias=True, tie_word_embeddings=True, rope_parameters=LLAMA3)),
    "llama-mqa-yarn": ("llama", dict(intermediate_size=33, num_key_value_heads=1, hidden_act="relu",
                                     rope_parameters=YARN)),
    "llama-plain": ("llama", dict(intermediate_size=64, rope_parameters=PLAIN)),
    "gpt2": ("gpt2", dict(n_inner=50, activation_function="relu", layer_norm_epsilon=1e-3, tie_word_embeddings=False,
                          scale_attn_weights=False, scale_attn_by_inverse_layer_idx=True)),
    "gpt2-plain": ("gpt2", dict()),
    "gpt2-by-layer": ("gpt2", dict(scale_attn_by_inverse_layer_idx=True, activation_function="gelu")),
    "gpt_neox": ("gpt_neox", dict(intermediate_size=44, hidden_act="gelu_new", layer_norm_eps=1e-3,
                                  attention_bias=False, use_parallel_residual=False, tie_word_embeddings=True,
                                  num_attention_heads=2, rope_parameters=LINEAR | HALF)),
    "gpt_neox-parallel": ("gpt_neox", dict(intermediate_size=44, num_attention_heads=3)),
    "qwen2": ("qwen2", GROUPED | dict(hidden_act="gelu_pytorch_tanh", rms_norm_eps=1e-3, tie_word_embeddings=True,
                                      use_sliding_window=True, sliding_window=5, max_window_layers=1,
                                      rope_parameters=YARN)),
    "qwen2-layers": ("qwen2", GROUPED | dict(num_key_value_heads=4, use_sliding_window=True, head_dim=8,
                                             sliding_window=3, rope_parameters=LINEAR, layer_types=MIXED)),
    "gemma": ("gemma", GROUPED | dict(head_dim=8, hidden_act="silu", rms_norm_eps=1e-3, tie_word_embeddings=False,
                                      attention_bias=True, rope_parameters=LLAMA3)),
    "gemma-plain": ("gemma", dict(intermediate_size=40, num_key_value_heads=1, head_dim=12)),
    "mistral": ("mistral", GROUPED | dict(head_dim=8, hidden_act="gelu", rms_norm_eps=1e-3, tie_word_embeddings=True,
                                          sliding_window=4, rope_parameters=YARN)),
    "ministral": ("ministral", GROUPED | dict(head_dim=8, hidden_act="gelu", rms_norm_eps=1e-3, sliding_window=4,
                                              tie_word_embeddings=True, rope_parameters=LLAMA3, layer_types=MIXED)),
    "phi3": ("phi3", GROUPED | dict(hidden_act="gelu", rms_norm_eps=1e-3, sliding_window=4, num_attention_heads=2,
                                    num_key_value_heads=1, tie_word_embeddings=True, rope_parameters=PLAIN | HALF)),
    "stablelm": ("stablelm", GROUPED | dict(hidden_act="gelu", layer_norm_eps=1e-3, tie_word_embeddings=True,
                                            num_attention_heads=2, num_key_value_heads=1, use_qkv_bias=True,
                                            use_parallel_residual=True, rope_parameters=YARN | HALF)),
    "olmo": ("olmo", GROUPED | dict(hidden_act="gelu", tie_word_embeddings=True, attention_bias=True,
                                    rope_parameters=LINEAR)),
    "starcoder2": ("starcoder2", GROUPED | dict(hidden_act="gelu", norm_epsilon=1e-3, tie_word_embeddings=False,
                                                use_bias=False, sliding_window=4, rope_parameters=LLAMA3)),
    "helium": ("helium", GROUPED | dict(hidden_act="gelu", rms_norm_eps=1e-3, tie_word_embeddings=True, head_dim=6,
                                        attention_bias=True, mlp_bias=True, rope_parameters=YARN)),
    "deepseek_v3": ("deepseek_v3", dict(intermediate_size=40, num_key_value_heads=None, hidden_act="gelu",
                                        tie_word_embeddings=True, attention_bias=True, rope_parameters=YARN,
                                        kv_lora_rank=7, q_lora_rank=9, qk_rope_head_dim=4, qk_nope_head_dim=3,
                                        v_head_dim=5, first_k_dense_replace=3)),
    "deepseek_v3-plain": ("deepseek_v3", dict(intermediate_size=40, num_key_value_heads=4, kv_lora_rank=7,
                                              q_lora_rank=None, qk_rope_head_dim=2, qk_nope_head_dim=4, v_head_dim=8,
                                              first_k_dense_replace=9)),
    "opt": ("opt", dict(ffn_dim=50, activation_function="gelu", enable_bias=False, layer_norm_elementwise_affine=False,
                        tie_word_embeddings=False)),
    "opt-350m": ("opt", dict(ffn_dim=50, do_layer_norm_before=False, word_embed_proj_dim=10)),
    "opt-narrow": ("opt", dict(ffn_dim=50, word_embed_proj_dim=30, tie_word_embeddings=False)),
    "bloom": ("bloom", dict(layer_norm_epsilon=1e-3, tie_word_embeddings=False, n_head=6, seq_length=64)),
    "bloom-plain": ("bloom", dict(seq_length=64)),
    "phi": ("phi", GROUPED | dict(hidden_act="silu", layer_norm_eps=1e-3, qk_layernorm=True, num_attention_heads=2,
                                  num_key_value_heads=1, rope_parameters=LLAMA3 | HALF)),
    "phi-plain": ("phi", dict(intermediate_size=40, rope_parameters=PLAIN | {"partial_rotary_factor": 0.4},
                              num_attention_heads=2)),
    "phi3-long": ("phi3", dict(intermediate_size=40, original_max_position_embeddings=4,
                               rope_parameters=LONG | {"short_factor": [1.0, 1.5], "long_factor": [1.2, 3.0]} |
                               {"partial_rotary_factor": 0.7})),
    "gemma2": ("gemma2", GROUPED | dict(head_dim=8, hidden_activation="silu", rms_norm_eps=1e-3, attention_bias=True,
                                        tie_word_embeddings=False, rope_parameters=YARN, query_pre_attn_scalar=11,
                                        sliding_window=4, layer_types=MIXED[::-1], final_logit_softcapping=3.0,
                                        attn_logit_softcapping=2.0)),
    "gemma2-uncapped": ("gemma2", GROUPED | dict(head_dim=8, final_logit_softcapping=None, sliding_window=5,
                                                 attn_logit_softcapping=None)),
    "gemma3_text": ("gemma3_text", GROUPED | dict(head_dim=8, hidden_activation="silu", rms_norm_eps=1e-3,
                                                  attention_bias=True, tie_word_embeddings=False, sliding_window=4,
                                                  query_pre_attn_scalar=11, layer_types=MIXED,
                                                  final_logit_softcapping=3.0, rope_parameters=TWO)),
    "qwen3": ("qwen3", GROUPED | dict(head_dim=10, hidden_act="gelu", rms_norm_eps=1e-3, tie_word_embeddings=True,
                                      attention_bias=True, use_sliding_window=True, sliding_window=5,
                                      max_window_layers=1, rope_parameters=YARN)),
    "smollm3": ("smollm3", GROUPED | dict(hidden_act="gelu", rms_norm_eps=1e-3, tie_word_embeddings=False,
                                          attention_bias=True, mlp_bias=True, use_sliding_window=True,
                                          sliding_window=4, no_rope_layers=[1, 0, 1], rope_parameters=LLAMA3)),
    "smollm3-plain": ("smollm3", GROUPED | dict(no_rope_layer_interval=2)),
    "olmo2": ("olmo2", GROUPED | dict(hidden_act="gelu", rms_norm_eps=1e-3, tie_word_embeddings=True, head_dim=8,
                                      attention_bias=True, rope_parameters=LINEAR)),
    "olmo3": ("olmo3", GROUPED | dict(hidden_act="gelu", rms_norm_eps=1e-3, tie_word_embeddings=True,
                                      attention_bias=True, sliding_window=4, layer_types=MIXED, rope_parameters=TWO)),
    "granite": ("granite", GROUPED | dict(hidden_act="gelu", rms_norm_eps=1e-3, tie_word_embeddings=True,
                                          attention_bias=True, mlp_bias=True, rope_parameters=YARN,
                                          embedding_multiplier=3.0, logits_scaling=7.0, residual_multiplier=0.3,
                                          attention_multiplier=0.2)),
    "cohere": ("cohere", GROUPED | dict(hidden_act="gelu", layer_norm_eps=1e-3, tie_word_embeddings=False,
                                        attention_bias=True, rope_parameters=LLAMA3, logit_scale=0.3)),
    "cohere2": ("cohere2", GROUPED | dict(hidden_act="gelu", layer_norm_eps=1e-3, tie_word_embeddings=False,
                                          attention_bias=True, rope_parameters=YARN, logit_scale=0.3,
                                          sliding_window=4, layer_types=MIXED)),
    "exaone4": ("exaone4", GROUPED | dict(hidden_act="gelu", rms_norm_eps=1e-3, tie_word_embeddings=True, head_dim=8,
                                          sliding_window=4, sliding_window_pattern=2, rope_parameters=LLAMA3)),
    "exaone4-full": ("exaone4", GROUPED | dict(sliding_window=None, layer_types=["full_attention"] * 3)),
    "nemotron": ("nemotron", GROUPED | dict(hidden_act="silu", norm_eps=1e-3, tie_word_embeddings=True, head_dim=8,
                                            attention_bias=True, mlp_bias=True, rope_parameters=LINEAR | HALF)),
    "arcee": ("arcee", GROUPED | dict(hidden_act="gelu", rms_norm_eps=1e-3, tie_word_embeddings=True, head_dim=8,
                                      attention_bias=True, mlp_bias=True, rope_parameters=LLAMA3)),
    "arcee-plain": ("arcee", GROUPED),
    "nanochat": ("nanochat", GROUPED | dict(hidden_act="gelu", rms_norm_eps=1e-3, tie_word_embeddings=True,
                                            attention_bias=True, rope_parameters=LINEAR, final_logit_softcapping=3.0)),
    "ernie4_5": ("ernie4_5", dict(intermediate_size=40, num_key_value_heads=4, hidden_act="gelu", rms_norm_eps=1e-3,
                                  tie_word_embeddings=False, head_dim=8, use_bias=True, rope_parameters=YARN)),
    "hunyuan_v1_dense": ("hunyuan_v1_dense", GROUPED | dict(hidden_act="gelu", rms_norm_eps=1e-3, head_dim=8,
                                                            tie_word_embeddings=True, attention_bias=True,
                                                            rope_parameters=ALPHA)),
    "llama4_text": ("llama4_text", ROTATING | dict(head_dim=8, hidden_act="gelu", rms_norm_eps=1e-3, use_qk_norm=False,
                                                   tie_word_embeddings=True, attention_bias=True, num_key_value_heads=2,
                                                   intermediate_size_mlp=40, rope_parameters=LLAMA3)),
    "youtu": ("youtu", dict(intermediate_size=40, num_key_value_heads=4, hidden_act="gelu", rms_norm_eps=1e-3,
                            tie_word_embeddings=False, attention_bias=True, rope_parameters=YARN, kv_lora_rank=7,
                            q_lora_rank=9, qk_rope_head_dim=4, qk_nope_head_dim=3, v_head_dim=5)),
    "minicpm3": ("minicpm3", dict(intermediate_size=40, num_key_value_heads=None, hidden_act="gelu",
                                  tie_word_embeddings=False, attention_bias=True, mlp_bias=True, rms_norm_eps=1e-3,
                                  rope_parameters=LONG | {"short_factor": [1.0, 1.5], "long_factor": [1.2, 3.0]},
                                  kv_lora_rank=7, q_lora_rank=9, qk_rope_head_dim=4, qk_nope_head_dim=3,
                                  v_head_dim=5, scale_emb=3.0, scale_depth=0.7, dim_model_base=10)),
}  # fmt: skip

# How a field is drawn at random, given the draw, and the heads and the width of a head drawn before.
ACTIVATION = ("relu", "gelu", "gelu_new", "gelu_pytorch_tanh", "silu")


def yes_or_no(draw, heads, width):
    return draw.random() < 0.5


def some_width(draw, heads, width):
    return draw.randint(9, 70)


def some_activation(draw, heads, width):
    return draw.choice(ACTIVATION)


def some_eps(draw, heads, width):
    return 10 ** draw.uniform(-6, -2)


def some_factor(draw, heads, width):
    return draw.uniform(0.2, 4)


def some_rope(draw, heads, width):
    return draw.choice((LLAMA3, YARN, LINEAR, PLAIN)) | {"rope_theta": 10 ** draw.uniform(1.5, 6)}


DRAWS = {
    "tie_word_embeddings": yes_or_no, "attention_bias": yes_or_no, "mlp_bias": yes_or_no, "use_bias": yes_or_no,
    "enable_bias": yes_or_no, "layer_norm_elementwise_affine": yes_or_no, "do_layer_norm_before": yes_or_no,
    "use_qkv_bias": yes_or_no, "use_qk_norm": yes_or_no, "qk_layernorm": yes_or_no, "scale_attn_weights": yes_or_no,
    "scale_attn_by_inverse_layer_idx": yes_or_no,
    "use_parallel_residual": yes_or_no,
    "intermediate_size": some_width, "n_inner": some_width, "ffn_dim": some_width,
    "intermediate_size_mlp": some_width, "word_embed_proj_dim": some_width,
    "hidden_act": some_activation, "activation_function": some_activation,
    "hidden_activation": some_activation,
    "rms_norm_eps": some_eps, "layer_norm_eps": some_eps, "layer_norm_epsilon": some_eps, "norm_epsilon": some_eps,
    "norm_eps": some_eps,
    "num_key_value_heads": lambda draw, heads, width: draw.choice([n for n in (1, 2, 3, 4, 6) if heads % n == 0]),
    "head_dim": lambda draw, heads, width: draw.choice((4, 6, 10)),
    "sliding_window": lambda draw, heads, width: draw.randint(2, 9),  # with 1, transformers' cache keeps all
    "use_sliding_window": lambda draw, heads, width: True,
    "max_window_layers": lambda draw, heads, width: draw.randint(0, 3),
    "rope_parameters": some_rope,
    "embedding_multiplier": some_factor, "logits_scaling": some_factor, "residual_multiplier": some_factor,
    "attention_multiplier": some_factor, "logit_scale": some_factor, "final_logit_softcapping": some_factor,
    "attn_logit_softcapping": some_factor, "scale_emb": some_factor, "scale_depth": some_factor,
    "dim_model_base": some_width, "query_pre_attn_scalar": some_width,
    "no_rope_layer_interval": lambda draw, heads, width: draw.randint(2, 3),
    "kv_lora_rank": some_width, "q_lora_rank": some_width, "v_head_dim": some_width,
    "qk_nope_head_dim": some_width, "qk_rope_head_dim": lambda draw, heads, width: draw.choice((2, 4, 6)),
}  # fmt: skip
PARTIAL = {"gpt_neox", "phi", "phi3", "stablelm", "nemotron"}  # turn part of each head
# What a family does not let us draw: how it is set instead.
BOUND = {
    "helium": lambda draw, heads, width: dict(head_dim=width),
    "deepseek_v3": lambda draw, heads, width: dict(num_key_value_heads=heads, first_k_dense_replace=9),
    "llama4_text": lambda draw, heads, width: (
        ROTATING
        | dict(
            num_hidden_layers=3,
            rope_parameters=draw.choice((LLAMA3, LINEAR, PLAIN)),
        )
    ),
    "youtu": lambda draw, heads, width: dict(num_key_value_heads=heads),
    "minicpm3": lambda draw, heads, width: dict(num_key_value_heads=heads, head_dim=None),
    "bloom": lambda draw, heads, width: dict(seq_length=64),
    "phi": lambda draw, heads, width: dict(tie_word_embeddings=False),
    "cohere": lambda draw, heads, width: dict(use_qk_norm=False),
    "stablelm": lambda draw, heads, width: dict(qk_layernorm=False),
    "gemma3_text": lambda draw, heads, width: dict(attn_logit_softcapping=None, rope_parameters=TWO),
    "olmo3": lambda draw, heads, width: dict(rope_parameters=TWO),
    "nanochat": lambda draw, heads, width: dict(rope_parameters=draw.choice((LLAMA3, LINEAR, PLAIN))),
    "exaone4": lambda draw, heads, width: dict(sliding_window_pattern=draw.randint(2, 3)),
    "phi3": lambda draw, heads, width: dict(rope_parameters=PLAIN | {"rope_theta": 10 ** draw.uniform(1.5, 6)}),
}


def at_random(family: str, seed: int) -> dict:
    """Every field of the family that DRAWS knows, and the sizes."""
    from transformers import AutoConfig

    draw = random.Random(f"{family} {seed}")
    heads, width = draw.choice((2, 4, 6)), draw.choice((4, 6, 8))
    options = dict(num_attention_heads=heads, hidden_size=heads * width, vocab_size=draw.randint(61, 90),
                   num_hidden_layers=draw.randint(2, 4))  # fmt: skip
    own = {field.name for field in fields(type(AutoConfig.for_model(family)))}
    options |= {name: drawn(draw, heads, width) for name, drawn in DRAWS.items() if name in own}
    options |= BOUND.get(family, lambda *_: {})(draw, heads, width)
    if family in PARTIAL:
        width = options.get("head_dim", width)
        share = 2 * draw.randint(1, width // 2) / width
        options["rope_parameters"] = options["rope_parameters"] | {"partial_rotary_factor": share}
    return options


def config_of(family: str, options: dict | int):
    """The configuration of these options, or of options drawn with this seed. Dropout is on: it must not act."""
    from transformers import AutoConfig

    own = {field.name for field in fields(type(AutoConfig.for_model(family)))}
    dropout = {name: 0.1 for name in own if name.endswith(("dropout", "pdrop")) or name == "layerdrop"}
    options = options if isinstance(options, dict) else at_random(family, options)
    return AutoConfig.for_model(family, **deepcopy(SIZES | NO_TOKENS | dropout | options))


def model_of(family: str, options: dict | int, dtype=torch.float32):
    """A transformers model with random weights everywhere: biases and norms too, which begin as zeros and ones."""
    from transformers import AutoModelForCausalLM

    config = config_of(family, options)
    torch.manual_seed(len(family))
    model = AutoModelForCausalLM.from_config(config, dtype=dtype)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            parameter.normal_(0, 0.2).add_("norm" in name or "ln_" in name)
    return model.eval()
