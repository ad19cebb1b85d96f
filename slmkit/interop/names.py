"""What transformers calls our modules: tables to read, and how a tensor's name is turned by them.

{i} is the layer, rows that begin with a dot lie inside it, and - is a module that the family does not have.
"""

import re

from slmkit.config import ModelConfig

TABLES = """
ours                   llama                         gpt2                         gpt_neox

embedding              model.embed_tokens            transformer.wte              gpt_neox.embed_in
position_embedding     -                             transformer.wpe              -
blocks.{i}             model.layers.{i}              transformer.h.{i}            gpt_neox.layers.{i}
.attention_norm        .input_layernorm              .ln_1                        .input_layernorm
.attention.q           .self_attn.q_proj             -                            -
.attention.k           .self_attn.k_proj             -                            -
.attention.v           .self_attn.v_proj             -                            -
.attention.qkv         -                             .attn.c_attn                 .attention.query_key_value
.attention.q_norm      .self_attn.q_norm             -                            -
.attention.k_norm      .self_attn.k_norm             -                            -
.attention.out         .self_attn.o_proj             .attn.c_proj                 .attention.dense
.ffn_norm              .post_attention_layernorm     .ln_2                        .post_attention_layernorm
.ffn.gate              .mlp.gate_proj                -                            -
.ffn.up                .mlp.up_proj                  .mlp.c_fc                    .mlp.dense_h_to_4h
.ffn.down              .mlp.down_proj                .mlp.c_proj                  .mlp.dense_4h_to_h
norm                   model.norm                    transformer.ln_f             gpt_neox.final_layer_norm
head                   lm_head                       lm_head                      lm_head

ours                   opt                               bloom                                   phi

embedding              model.decoder.embed_tokens        transformer.word_embeddings             model.embed_tokens
embedding_in           model.decoder.project_in          -                                       -
embedding_norm         -                                 transformer.word_embeddings_layernorm   -
position_embedding     model.decoder.embed_positions     -                                       -
blocks.{i}             model.decoder.layers.{i}          transformer.h.{i}                       model.layers.{i}
.attention_norm        .self_attn_layer_norm             .input_layernorm                        .input_layernorm
.attention.q           .self_attn.q_proj                 -                                       .self_attn.q_proj
.attention.k           .self_attn.k_proj                 -                                       .self_attn.k_proj
.attention.v           .self_attn.v_proj                 -                                       .self_attn.v_proj
.attention.qkv         -                                 .self_attention.query_key_value         -
.attention.q_norm      -                                 -                                       .self_attn.q_layernorm
.attention.k_norm      -                                 -                                       .self_attn.k_layernorm
.attention.out         .self_attn.out_proj               .self_attention.dense                   .self_attn.dense
.attention_post_norm   .self_attn_layer_norm             -                                       -
.ffn_norm              .final_layer_norm                 .post_attention_layernorm               -
.ffn.up                .fc1                              .mlp.dense_h_to_4h                      .mlp.fc1
.ffn.down              .fc2                              .mlp.dense_4h_to_h                      .mlp.fc2
.ffn_post_norm         .final_layer_norm                 -                                       -
norm                   model.decoder.final_layer_norm    transformer.ln_f                        model.final_layernorm
embedding_out          model.decoder.project_out         -                                       -
head                   lm_head                           lm_head                                 lm_head
"""

# The others write llama's names, except for these modules.
LATENT = {
    ".attention.q_down": ".self_attn.q_a_proj", ".attention.q_norm": ".self_attn.q_a_layernorm",
    ".attention.kv_down": ".self_attn.kv_a_proj_with_mqa", ".attention.kv_norm": ".self_attn.kv_a_layernorm",
    ".attention.kv_up": ".self_attn.kv_b_proj",
}  # fmt: skip
POST = {".attention_post_norm": ".post_attention_layernorm", ".ffn_post_norm": ".post_feedforward_layernorm"}
AROUND = POST | {".ffn_norm": ".pre_feedforward_layernorm"}
LIKE_LLAMA = {
    "phi3": {".attention.qkv": ".self_attn.qkv_proj", ".ffn.gate_up": ".mlp.gate_up_proj"},
    "starcoder2": {".ffn.up": ".mlp.c_fc", ".ffn.down": ".mlp.c_proj"},
    "nanochat": {".ffn.up": ".mlp.fc1", ".ffn.down": ".mlp.fc2"},
    "llama4_text": {f".ffn.{part}": f".feed_forward.{part}_proj" for part in ("gate", "up", "down")},
    "gemma2": AROUND, "gemma3_text": AROUND, "olmo2": POST, "olmo3": POST, "exaone4": POST,
    "hunyuan_v1_dense": {
        ".attention.q_norm": ".self_attn.query_layernorm", ".attention.k_norm": ".self_attn.key_layernorm",
    },
    "deepseek_v3": LATENT, "minicpm3": LATENT, "youtu": LATENT,
}  # fmt: skip


def module_names(family: str, config: ModelConfig) -> dict[str, str]:
    """Our name of each module, as in `blocks.{i}.ffn.up`, to the family's."""
    rows = dict(_COLUMNS[family] if family in _COLUMNS else _COLUMNS["llama"] | LIKE_LLAMA.get(family, {}))
    if config.q_lora_rank:
        rows[".attention.q"] = ".self_attn.q_b_proj"  # it is q_proj when queries come straight from the input
    # A norm before a branch and one after it often have one name there; a model has the one or the other.
    if config.norm_placement in ("post", "after_residual"):
        absent = (".attention_norm", ".ffn_norm")
    else:
        absent = (".attention_post_norm", ".ffn_post_norm") if config.norm_placement == "pre" else ()
    for ours in absent:
        rows.pop(ours, None)
    layer = rows.pop("blocks.{i}")
    return {
        "blocks.{i}" + ours if ours[0] == "." else ours: layer + theirs if ours[0] == "." else theirs
        for ours, theirs in rows.items()
    }


def rename(name: str, modules: dict[str, str]) -> str:
    """`blocks.3.ffn.up.weight` by a table of modules with {i} for the layer."""
    module, kind = name.rsplit(".", 1)
    layer = re.search(r"\.(\d+)\.", module)
    anywhere = module if layer is None else module.replace(layer[0], ".{i}.", 1)
    if anywhere not in modules:
        raise ValueError(f"{name} has no place on the other side")
    return modules[anywhere].replace("{i}", layer[1] if layer else "") + f".{kind}"


def _columns() -> dict[str, dict[str, str]]:
    """The columns of TABLES by family: our module to theirs."""
    lines = [re.split(r"\s{2,}", line) for line in TABLES.split("\n") if line]
    columns = {}
    for line in lines:
        if line[0] == "ours":
            header = line
        for family, theirs in zip(header[1:], line[1:], strict=True):
            if line is header:
                columns[family] = {}
            elif theirs != "-":
                columns[family][line[0]] = theirs
    return columns


_COLUMNS = _columns()
