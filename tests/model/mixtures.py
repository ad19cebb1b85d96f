"""What families combine, beyond the plain decoder, as options for a small model of heads six wide."""

from slmkit.rope_scaling import RopeScaling

MIXTURES = {
    "olmo2": dict(norm_placement="post", qk_norm="full"),
    "opt 350M": dict(norm_placement="after_residual", norm="layernorm", positions="learned", position_offset=2,
                     embedding_width=10),
    "phi": dict(block="parallel_shared_norm", tied_embeddings=False, head_bias=True, norm="layernorm"),
    "bloom": dict(positions="alibi", embedding_norm=True, norm="layernorm"),
    "hunyuan": dict(qk_norm="head_rotated", rope_scaling=RopeScaling("ntk", 3.0)),
    "longrope": dict(residual_scale=0.4, logit_scale=0.5, rope_scaling=RopeScaling(
        "longrope", 2.0, 8, short_factors=(1.0,) * 3, long_factors=(1.0, 2.0, 4.0))),
}  # fmt: skip
