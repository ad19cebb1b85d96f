"""What transformers calls our modules: one table, a column for each way to spell them."""

import re

# {i} is the layer, and rows that begin with a dot lie inside it.

NAMES = """
ours                 llama, qwen2, gemma         gpt2                gpt_neox

embedding            model.embed_tokens          transformer.wte     gpt_neox.embed_in
position_embedding   -                           transformer.wpe     -
blocks.{i}           model.layers.{i}            transformer.h.{i}   gpt_neox.layers.{i}
.attention_norm      .input_layernorm            .ln_1               .input_layernorm
.attention.q         .self_attn.q_proj           -                   -
.attention.k         .self_attn.k_proj           -                   -
.attention.v         .self_attn.v_proj           -                   -
.attention.qkv       -                           .attn.c_attn        .attention.query_key_value
.attention.out       .self_attn.o_proj           .attn.c_proj        .attention.dense
.ffn_norm            .post_attention_layernorm   .ln_2               .post_attention_layernorm
.ffn.gate            .mlp.gate_proj              -                   -
.ffn.up              .mlp.up_proj                .mlp.c_fc           .mlp.dense_h_to_4h
.ffn.down            .mlp.down_proj              .mlp.c_proj         .mlp.dense_4h_to_h
norm                 model.norm                  transformer.ln_f    gpt_neox.final_layer_norm
head                 lm_head                     lm_head             lm_head
"""


def _names(column: int) -> dict[str, str]:
    """Our name of each module to the one in a column of NAMES, in full."""
    names, rows = {}, [re.split(r"\s{2,}", line) for line in NAMES.split("\n\n")[1].strip().splitlines()]
    for row in rows:
        ours, theirs = row[0], row[column]
        if ours == "blocks.{i}":
            layer = ours, theirs
        elif theirs != "-":
            inside = ours.startswith(".")
            names[layer[0] + ours if inside else ours] = layer[1] + theirs if inside else theirs
    return names


LLAMA_NAMES, GPT2_NAMES, NEOX_NAMES = _names(1), _names(2), _names(3)


def rename(name: str, table: dict[str, str]) -> str:
    module, kind = name.rsplit(".", 1)
    layer = re.search(r"\.(\d+)\.", module)
    if layer is None:
        return f"{table[module]}.{kind}"
    return table[module.replace(layer[0], ".{i}.", 1)].replace("{i}", layer[1]) + f".{kind}"
