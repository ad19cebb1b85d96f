"""Families against transformers: random small models with every option of the family away from its default."""

from dataclasses import fields

import pytest
import torch
import torch.nn.functional as F
from interop_cases import CHOSEN, LINEAR, PAD, PARTIAL, ROTATING, SIZES, YARN, config_of, model_of

from slmkit import Decoder, ModelConfig, RopeScaling, generate, interop
from slmkit.interop.options import HARMLESS
from slmkit.interop.parts import EXPERTS, UNROTATED
from slmkit.model.cache import KVCache
from slmkit.model.generation import left_pad
from slmkit.model.storage import unique_tensors

CASES = CHOSEN | {f"{family}-random-{seed}": (family, seed) for family in interop.FAMILIES for seed in range(1)}


def batch():
    """Rows of 12, 5 and 9 tokens, padded at the left, with transformers' mask and positions."""
    generator = torch.Generator().manual_seed(1)
    rows = [torch.randint(1, 61, (n,), generator=generator).tolist() for n in (12, 5, 9)]
    ids, padding = left_pad(rows, PAD)
    mask = torch.arange(12) >= padding[:, None]
    return ids, padding, mask, (mask.cumsum(1) - 1).clamp(min=0)


def close(ours, reference):
    """Equal to 1e-5 of the reference's largest value."""
    torch.testing.assert_close(ours, reference, rtol=1e-5, atol=1e-5 * float(reference.detach().abs().max()))


def loss_of(logits, ids, mask):
    """Mean loss over the real tokens, and no others."""
    labels = ids[:, 1:].masked_fill(~(mask[:, 1:] & mask[:, :-1]), -100)
    return F.cross_entropy(logits[:, :-1].flatten(0, 1), labels.flatten(), ignore_index=-100)


pytestmark = pytest.mark.filterwarnings("ignore:LongRoPE")


@pytest.fixture(scope="module", params=CASES)
def pair(request):
    """A transformers model and ours made from it, built once for all tests of a case."""
    hf_model = model_of(*CASES[request.param])
    return hf_model, interop.from_transformers(hf_model)


@pytest.mark.parametrize("padded", [False, True])
def test_logits_loss_and_every_gradient_equal(pair, padded):
    hf_model, model = pair
    ids, padding, mask, positions = batch()
    if padded:
        expected = hf_model(ids, attention_mask=mask.long(), position_ids=positions, use_cache=False).logits
        logits = model(ids, padding=padding)
    else:
        ids, mask = ids[:1].repeat(2, 1), mask[:1].repeat(2, 1)
        expected, logits = hf_model(ids, use_cache=False).logits, model(ids)
    close(logits[mask], expected[mask])

    expected_loss, loss = loss_of(expected, ids, mask), loss_of(logits, ids, mask)
    close(loss, expected_loss)
    for either in pair:
        either.zero_grad()
    expected_loss.backward()
    loss.backward()
    family = hf_model.config.model_type
    reference = {name: parameter.grad for name, parameter in hf_model.named_parameters()}
    gradients = {name: parameter.grad for name, parameter in unique_tensors(model).items()}
    mapped = interop.tensors_to_transformers(gradients, model.config, family)
    assert mapped.keys() == reference.keys()
    for name, gradient in reference.items():
        close_gradient(mapped[name], gradient, reference)
    back = interop.tensors_from_transformers(reference, model.config, family)
    assert back.keys() == gradients.keys()
    for name, gradient in gradients.items():
        close_gradient(back[name], gradient, reference)


def close_gradient(ours, theirs, all_of_them):
    """Equal to 1e-5 of this tensor's largest gradient, or to a few roundings of the model's largest.

    Where attention is nearly even, what reaches queries and keys is a small difference of large numbers, and a shift of
    all keys, their bias, changes no weight at all: without rotation its gradient is rounding and nothing else.
    """
    own, largest = float(theirs.abs().max()), max(float(gradient.abs().max()) for gradient in all_of_them.values())
    torch.testing.assert_close(ours, theirs, rtol=1e-5, atol=1e-5 * own + 5e-7 * largest)


def test_logits_with_a_cache_equal(pair):
    from transformers import DynamicCache

    hf_model, model = pair
    ids, padding, mask, positions = batch()
    theirs_cache, cache = DynamicCache(config=hf_model.config), KVCache(model.config, 3, 12)
    with torch.no_grad():
        for start, end in ((0, 6), (6, 7), (7, 8), (8, 12)):
            part = slice(start, end)
            expected = hf_model(ids[:, part], attention_mask=mask[:, :end].long(), position_ids=positions[:, part],
                                past_key_values=theirs_cache, use_cache=True).logits  # fmt: skip
            logits = model(ids[:, part], cache, padding)
            close(logits[mask[:, part]], expected[mask[:, part]])


def test_greedy_tokens_equal(pair):
    hf_model, model = pair
    ids, padding, mask, _ = batch()
    with torch.no_grad():
        expected = hf_model.generate(ids, attention_mask=mask.long(), max_new_tokens=6, do_sample=False)
    assert torch.equal(generate(model, ids, 6, padding=padding), expected)


def test_round_trip_is_exact_to_the_bit(pair):
    hf_model, model = pair
    family = hf_model.config.model_type
    back = interop.to_transformers(model, family)
    assert type(back) is type(hf_model)
    before, after = dict(hf_model.named_parameters()), dict(back.named_parameters())
    assert before.keys() == after.keys()
    assert all(torch.equal(before[name], after[name]) for name in before)
    assert back.config.tie_word_embeddings == (back.lm_head.weight is back.get_input_embeddings().weight)
    ids, *_ = batch()
    with torch.no_grad():
        close(back(ids[:1]).logits, hf_model(ids[:1]).logits)  # tanh-GELU has two names there that round differently
    again = interop.from_transformers(back)
    assert again.config == model.config
    assert all(torch.equal(a, b) for a, b in zip(model.state_dict().values(), again.state_dict().values(), strict=True))


def test_the_copy_does_not_share_memory():
    hf_model = model_of(*CASES["llama-plain"])
    model = interop.from_transformers(hf_model)
    back = interop.to_transformers(model)
    before = model.embedding.weight.clone()
    with torch.no_grad():
        hf_model.get_input_embeddings().weight.zero_()
        back.get_input_embeddings().weight.zero_()
    assert torch.equal(model.embedding.weight, before)


@pytest.mark.parametrize(
    "case", ["gemma-plain", "llama", "gpt2", "opt-350m", "bloom", "phi3", "olmo2", "granite", "gemma3_text", "helium"]
)
def test_bfloat16_stays_and_is_no_less_exact_than_theirs(case):
    hf_model = model_of(*CASES[case], torch.bfloat16)
    model = interop.from_transformers(hf_model)
    assert {p.dtype for p in model.parameters()} == {torch.bfloat16}
    assert interop.to_transformers(model).dtype == torch.bfloat16
    ids, *_ = batch()
    with torch.no_grad():
        theirs, ours = hf_model(ids[:1]).logits.float(), model(ids[:1]).float()
        exact = hf_model.float()(ids[:1]).logits
    assert (ours - exact).abs().max() < 2 * (theirs - exact).abs().max()


def fields_of(family: str) -> set[str]:
    """The fields that change what the family computes, beyond what every configuration has."""
    from transformers import AutoConfig, PreTrainedConfig

    own = {field.name for field in fields(AutoConfig.for_model(family))}
    own -= {field.name for field in fields(PreTrainedConfig)}
    without_experts = {"intermediate_size", "interleave_moe_layer_step"} if family == "llama4_text" else set()
    return own - HARMLESS - {*EXPERTS, *UNROTATED} - without_experts


@pytest.mark.parametrize("family", interop.FAMILIES)
def test_every_field_is_away_from_its_default_somewhere_or_refused(family):
    """A new field in a later transformers appears here, so that no case ignores it in silence."""
    from transformers import AutoConfig

    default, neutral = AutoConfig.for_model(family), interop.FAMILIES[family].neutral
    configs = [config_of(*case) for case in CASES.values() if case[0] == family]
    for name in fields_of(family) - neutral.keys():
        assert any(getattr(config, name) != getattr(default, name) for config in configs), name


def other(value):
    """A value of the same kind that is not this one."""
    return {None: 1.5, True: False, False: True}.get(value, value)


@pytest.mark.parametrize(
    ("family", "name"), [(family, name) for family, table in interop.FAMILIES.items() for name in table.neutral]
)
def test_a_field_that_a_decoder_knows_at_one_value_is_refused_at_others(family, name):
    config = config_of(family, 0)
    interop.config_from_transformers(config)
    setattr(config, name, other(interop.FAMILIES[family].neutral[name]))
    with pytest.raises(ValueError, match=f"^{name} is ") as caught:
        interop.config_from_transformers(config)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("family", interop.FAMILIES)
def test_a_field_that_nobody_has_thought_of_is_refused(family, monkeypatch):
    table, options = interop.FAMILIES[family], {}
    config = config_of(family, 0)
    for ours, name in table.options.items():
        if name in fields_of(family) and getattr(config, name) != getattr(type(config)(), name):
            options = {ours: kept for ours, kept in table.options.items() if kept != name}
            break
    monkeypatch.setitem(interop.FAMILIES, family, table._replace(options=options))
    with pytest.raises(ValueError, match=f"^{name} is .*of {family} a Decoder has only"):
        interop.config_from_transformers(config)


def families_with(field: str) -> list[str]:
    return [name for name, family in interop.FAMILIES.items() if any(field in part.fields for part in family.parts)]


def with_rotation(family: str, **setting):
    """A configuration whose rotation, or each of the two, has this setting too."""
    config = config_of(family, 0)
    nested = "full_attention" in config.rope_parameters
    for parameters in config.rope_parameters.values() if nested else [config.rope_parameters]:
        parameters |= setting
    return config


@pytest.mark.parametrize("family", families_with("rope_parameters"))
def test_a_rotation_that_a_decoder_lacks_is_refused(family):
    for setting in (dict(mrope_section=[1]), dict(mscale=0.7), dict(rope_type="dynamic", factor=2.0, alpha=None)):
        with pytest.raises(ValueError, match=f"rope.* '?{setting.get('rope_type', min(setting))}"):
            interop.config_from_transformers(with_rotation(family, **setting))


@pytest.mark.parametrize("family", sorted(set(families_with("rope_parameters")) - PARTIAL))
def test_a_share_of_each_head_is_refused_where_the_family_turns_whole_heads(family):
    with pytest.raises(ValueError, match="partial_rotary_factor is "):
        interop.config_from_transformers(with_rotation(family, partial_rotary_factor=0.5))


@pytest.mark.parametrize("family", families_with("layer_types"))
def test_another_kind_of_layer_is_refused(family):
    config = config_of(family, 0)
    config.layer_types = ["chunked_attention", *config.layer_types[1:]]
    with pytest.raises(ValueError, match="layer_types has 'chunked_attention'"):
        interop.config_from_transformers(config)


@pytest.mark.parametrize(
    ("family", "options", "message"),
    [
        ("llama", dict(hidden_act="mish"), "activation is 'mish'"),
        ("llama", dict(rope_parameters={"rope_type": "dynamic", "rope_theta": 1e4, "factor": 2.0}), "dynamic"),
        ("llama", dict(rope_parameters=YARN | {"mscale": 0.7}), "mscale"),
        ("llama", dict(rope_parameters=YARN | {"truncate": False}), "truncate"),
        ("llama", dict(rope_parameters=LINEAR | {"partial_rotary_factor": 0.5}), "partial_rotary_factor"),
        ("deepseek_v3", dict(num_key_value_heads=4, first_k_dense_replace=2), "first_k_dense_replace is 2 of 3 layers"),
        ("deepseek_v3", dict(num_key_value_heads=2, first_k_dense_replace=3), "leave n_kv_heads out"),
        ("llama4_text", ROTATING | dict(moe_layers=[1]), r"moe_layers is \[1\]"),
        ("llama4_text", ROTATING | dict(no_rope_layers=[1, 0, 1]), "no_rope_layers has a 0"),
        ("bert", dict(), "'bert' is not one of llama"),
    ],
)
def test_what_a_decoder_lacks_is_refused_in_one_line(family, options, message):
    from transformers import AutoConfig

    with pytest.raises(ValueError, match=message) as caught:
        interop.config_from_transformers(AutoConfig.for_model(family, **SIZES | options))
    assert "\n" not in str(caught.value)


def test_a_model_without_its_head_is_refused():
    with pytest.raises(ValueError, match="a LlamaModel has no output head"):
        interop.from_transformers(model_of(*CASES["llama-plain"]).model)


def test_a_tensor_that_a_decoder_lacks_is_refused():
    hf_model = model_of(*CASES["llama-plain"])
    hf_model.model.layers[1].mlp.adapter = torch.nn.Linear(2, 2)
    with pytest.raises(ValueError, match=r"model.layers.1.mlp.adapter.weight has no place"):
        interop.from_transformers(hf_model)


def test_a_text_within_the_first_context_of_longrope_is_warned_of():
    family, options = CASES["phi3-long"]
    with pytest.warns(UserWarning, match="up to 4 tokens"):
        model = interop.from_transformers(model_of(family, options))
    with pytest.warns(UserWarning, match="up to 4 tokens"):
        interop.to_transformers(model, "phi3")


def test_quantized_weights_are_refused():
    hf_model = model_of(*CASES["llama-plain"])
    weight = torch.zeros(61, 24, dtype=torch.int8)
    hf_model.lm_head.weight = torch.nn.Parameter(weight, requires_grad=False)
    with pytest.raises(ValueError, match=r"lm_head.weight is quantized \(torch.int8\)"):
        interop.from_transformers(hf_model)


LATENT = dict(attention="mla", kv_lora_rank=8, qk_rope_head_dim=2)
BASE = dict(vocab_size=61, d_model=24, n_layers=2, n_heads=4, max_context=64)


@pytest.mark.parametrize(
    ("options", "family"),
    [
        (dict(), "llama"),
        (dict(d_ff=(40, 40), n_kv_heads=(2, 2), attention_scale=6**-0.5), "llama"),  # tuples of equals say nothing new
        (dict(qkv_bias=True), "qwen2"),
        (dict(qkv_bias=True, out_bias=True, ffn_bias=True), "llama"),
        (dict(qkv_bias=True, window=(None, 8)), "qwen2"),
        (dict(norm_unit_offset=True, embedding_scale=24**0.5, activation="gelu_tanh"), "gemma"),
        (dict(positions="learned", ffn="standard", norm="layernorm", rope_theta=5.0,
              qkv_bias=True, out_bias=True, ffn_bias=True), "gpt2"),
        (dict(block="parallel", ffn="standard", norm="layernorm", ffn_bias=True, rope_fraction=2 / 3), "gpt_neox"),
        (LATENT | dict(norm_eps=1e-6), "minicpm3"),
        (LATENT | dict(norm_eps=1e-3, latent_norm_eps=1e-6, residual_scale=0.5), "minicpm3"),
        (dict(residual_scale=0.5, embedding_scale=3.0, logit_scale=1 / 7), "granite"),
        (dict(window=(4, None), rope_theta=(1e4, None)), "smollm3"),
        (dict(window=(4, None), rope_theta=(1e4, 1e5), qk_norm="full", norm_placement="post"), "olmo3"),
        (dict(qk_norm="head_rotated", rope_scaling=RopeScaling("ntk", 9.0)), "hunyuan_v1_dense"),
        (dict(qk_norm="head_plain"), "llama4_text"),
        (dict(window=4), "mistral"),
    ],
)  # fmt: skip
def test_the_family_is_chosen_by_what_it_can_express(options, family):
    config = ModelConfig(**BASE | options)
    hf_model = interop.to_transformers(Decoder(config))
    assert hf_model.config.model_type == family
    ids = torch.randint(0, 61, (2, 10))
    model = interop.from_transformers(hf_model)
    with torch.no_grad():
        close(model(ids), hf_model(ids).logits)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (dict(sharing="block_pairs"), "sharing = 'block_pairs'"),
        (dict(block="parallel"), "block = 'parallel'"),
        (dict(positions="alibi"), "positions = 'alibi'"),
        (dict(d_ff=(16, 32)), r"d_ff = \(16, 32\)"),
        (dict(window=8, positions="alibi"), r"mistral cannot express positions = 'alibi'; \w+ cannot express"),
        (dict(embedding_scale=2.0, qkv_bias=True), "granite cannot express qkv_bias = True"),
        (dict(norm_weight=False), "norm_weight = False"),
        (LATENT | dict(norm_eps=1e-6, window=8), "deepseek_v3 cannot express window = 8"),
        (dict(rope_fraction=1 / 3, qkv_bias=True), "qwen2 cannot express rope_fraction = 0.333"),
        (
            dict(n_heads=5, head_dim=8, ffn_bias=True, out_bias=True),
            "llama cannot express n_heads = 5 with d_model = 24",
        ),
        (dict(score_cap=5.0), "llama cannot express score_cap = 5.0"),
        (dict(logit_cap=5.0), "llama cannot express logit_cap = 5.0"),
        (dict(norm_placement="both"), "llama cannot express norm_placement = 'both'"),
        (dict(qk_norm="full"), "llama cannot express qk_norm = 'full'"),
        (dict(head_bias=True, tied_embeddings=False), "llama cannot express head_bias = True"),
        (dict(embedding_norm=True), "llama cannot express embedding_norm = True"),
        (dict(embedding_width=8), "llama cannot express embedding_width = 8"),
        (dict(rope_theta=(1e4, 1e5)), r"llama cannot express rope_theta = \(10000.0, 100000.0\)"),
        (dict(rope_scaling=(None, RopeScaling("linear", 2.0))), "llama cannot express rope_scaling"),
        (dict(rope_scaling=RopeScaling("ntk", 2.0)), "llama cannot express rope_scaling"),
        (
            dict(residual_scale=0.5, window=4),
            "mistral cannot express residual_scale = 0.5",
        ),
        (dict(n_heads=(2, 4), head_dim=6, n_kv_heads=2), r"llama cannot express n_heads = \(2, 4\)"),
        (LATENT | dict(norm_eps=1e-3), "minicpm3 cannot express latent_norm_eps = None"),
    ],
)
def test_an_option_that_no_family_has_is_named(options, message):
    with pytest.raises(ValueError, match=message) as caught:
        interop.config_to_transformers(ModelConfig(**BASE | options))
    assert "\n" not in str(caught.value)


def test_a_family_that_lacks_an_option_says_so():
    with pytest.raises(ValueError, match="gpt2 cannot express ffn = 'gated'"):
        interop.config_to_transformers(ModelConfig(**BASE), family="gpt2")
    with pytest.raises(ValueError, match="'bert' is not one of"):
        interop.config_to_transformers(ModelConfig(**BASE), family="bert")


def test_scaled_positions_survive_the_way_there_and_back():
    for scaling in (RopeScaling("linear", 2.0), RopeScaling("llama3", 8.0, 32), RopeScaling("yarn", 4.0, 16)):
        config = ModelConfig(**BASE, rope_scaling=scaling, rope_theta=500.0)
        assert interop.config_from_transformers(interop.config_to_transformers(config)).rope_scaling == scaling
