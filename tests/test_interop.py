"""Five families against transformers: random small models with every option of the family away from its default."""

import random

import pytest
import torch
import torch.nn.functional as F

from slmkit import Decoder, ModelConfig, RopeScaling, generate, interop
from slmkit.model.cache import KVCache
from slmkit.model.generation import left_pad
from slmkit.model.storage import unique_tensors

PAD = 0
LLAMA3 = {"rope_type": "llama3", "rope_theta": 5000.0, "factor": 4.0, "original_max_position_embeddings": 16,
          "low_freq_factor": 1.0, "high_freq_factor": 3.0}  # fmt: skip
YARN = {"rope_type": "yarn", "rope_theta": 3000.0, "factor": 3.0, "original_max_position_embeddings": 24,
        "beta_fast": 8.0, "beta_slow": 0.5, "attention_factor": 1.3}  # fmt: skip
LINEAR = {"rope_type": "linear", "rope_theta": 700.0, "factor": 2.5}
SIZES = dict(vocab_size=61, hidden_size=24, num_hidden_layers=3, num_attention_heads=4, max_position_embeddings=64)
NO_TOKENS = dict(bos_token_id=None, eos_token_id=None, pad_token_id=PAD)

# Name of the case -> family, options away from their defaults. Where options exclude each other there are several.
CASES = {
    "llama": ("llama", dict(intermediate_size=40, num_key_value_heads=2, head_dim=10, hidden_act="gelu", mlp_bias=True,
                            rms_norm_eps=1e-3, attention_bias=True, tie_word_embeddings=True, attention_dropout=0.1,
                            rope_parameters=LLAMA3)),
    "llama-mqa-yarn": ("llama", dict(intermediate_size=33, num_key_value_heads=1, hidden_act="relu",
                                     rope_parameters=YARN)),
    "llama-plain": ("llama", dict(intermediate_size=64, rope_parameters={"rope_theta": 123.0, "rope_type": "default"})),
    "gpt2": ("gpt2", dict(n_inner=50, activation_function="relu", layer_norm_epsilon=1e-3, tie_word_embeddings=False,
                          scale_attn_weights=False, scale_attn_by_inverse_layer_idx=True, reorder_and_upcast_attn=True,
                          resid_pdrop=0.3, embd_pdrop=0.2, attn_pdrop=0.4)),
    "gpt2-plain": ("gpt2", dict()),
    "gpt2-by-layer": ("gpt2", dict(scale_attn_by_inverse_layer_idx=True, activation_function="gelu")),
    "gpt_neox": ("gpt_neox", dict(intermediate_size=44, hidden_act="gelu_new", layer_norm_eps=1e-3,
                                  attention_bias=False,
                                  use_parallel_residual=False, tie_word_embeddings=True, attention_dropout=0.2,
                                  hidden_dropout=0.3, num_attention_heads=2,
                                  rope_parameters=LINEAR | {"partial_rotary_factor": 0.5})),
    "gpt_neox-parallel": ("gpt_neox", dict(intermediate_size=44, num_attention_heads=3)),
    "qwen2": ("qwen2", dict(intermediate_size=40, num_key_value_heads=2, hidden_act="gelu_pytorch_tanh",
                            rms_norm_eps=1e-3, tie_word_embeddings=True, use_sliding_window=True, sliding_window=5,
                            max_window_layers=1, rope_parameters=YARN)),
    "qwen2-layers": ("qwen2", dict(intermediate_size=40, num_key_value_heads=4, use_sliding_window=True, head_dim=8,
                                   sliding_window=3, rope_parameters=LINEAR, attention_dropout=0.1,
                                   layer_types=["sliding_attention", "full_attention", "sliding_attention"])),
    "gemma": ("gemma", dict(intermediate_size=40, num_key_value_heads=2, head_dim=8, hidden_act="silu",
                            rms_norm_eps=1e-3, tie_word_embeddings=False, attention_bias=True, attention_dropout=0.1,
                            rope_parameters=LLAMA3)),
    "gemma-plain": ("gemma", dict(intermediate_size=40, num_key_value_heads=1, head_dim=12)),
}  # fmt: skip


def at_random(family: str, seed: int) -> dict:
    """Options drawn at random, sizes included."""
    draw = random.Random(f"{family} {seed}")
    heads, width = draw.choice((2, 4, 6)), draw.choice((4, 6, 8))
    options = dict(num_attention_heads=heads, hidden_size=heads * width, vocab_size=draw.randint(61, 90),
                   num_hidden_layers=draw.randint(2, 4), tie_word_embeddings=draw.random() < 0.5)  # fmt: skip
    activation = draw.choice(("relu", "gelu", "gelu_new", "gelu_pytorch_tanh", "silu"))
    if family == "gpt2":
        return options | dict(n_inner=draw.randint(9, 70), activation_function=activation,
                              scale_attn_weights=draw.random() < 0.5, layer_norm_epsilon=10 ** draw.uniform(-6, -2),
                              scale_attn_by_inverse_layer_idx=draw.random() < 0.5)  # fmt: skip
    rope = draw.choice((LLAMA3, YARN, LINEAR, {"rope_type": "default"})) | {"rope_theta": 10 ** draw.uniform(1.5, 6)}
    options |= dict(intermediate_size=draw.randint(9, 70), rope_parameters=rope,
                    hidden_act="silu" if family == "gemma" and activation == "gelu" else activation)  # fmt: skip
    if family == "gpt_neox":
        rope["partial_rotary_factor"] = 2 * draw.randint(1, width // 2) / width
        return options | dict(use_parallel_residual=draw.random() < 0.5, attention_bias=draw.random() < 0.5,
                              layer_norm_eps=10 ** draw.uniform(-6, -2))  # fmt: skip
    options |= dict(rms_norm_eps=10 ** draw.uniform(-6, -2), head_dim=draw.choice((4, 6, 10)),
                    num_key_value_heads=draw.choice([n for n in (1, 2, 3, 4, 6) if heads % n == 0]))  # fmt: skip
    if family == "qwen2":
        return options | dict(use_sliding_window=True, sliding_window=draw.randint(1, 9),
                              max_window_layers=draw.randint(0, 3))  # fmt: skip
    options["attention_bias"] = draw.random() < 0.5
    return options | (dict(mlp_bias=draw.random() < 0.5) if family == "llama" else {})


CASES |= {f"{f}-random-{seed}": (f, at_random(f, seed)) for f in interop.FAMILIES for seed in range(2)}
IGNORED = {"initializer_range", "classifier_dropout"}  # how weights are drawn, and another task's head


def theirs(case: str, dtype=torch.float32):
    """A transformers model with random weights everywhere: biases and norms too, which begin as zeros and ones."""
    from transformers import AutoConfig, AutoModelForCausalLM

    family, options = CASES[case]
    torch.manual_seed(len(case))
    model = AutoModelForCausalLM.from_config(AutoConfig.for_model(family, **SIZES | NO_TOKENS | options), dtype=dtype)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            parameter.normal_(0, 0.3).add_("norm" in name or "ln_" in name)
    return model.eval()


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


@pytest.fixture(params=CASES)
def pair(request):
    hf_model = theirs(request.param)
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
    expected_loss.backward()
    loss.backward()
    family = hf_model.config.model_type
    reference = {name: parameter.grad for name, parameter in hf_model.named_parameters()}
    gradients = {name: parameter.grad for name, parameter in unique_tensors(model).items()}
    mapped = interop.tensors_to_transformers(gradients, model.config, family)
    assert mapped.keys() == reference.keys()
    for name, gradient in reference.items():
        if ".k_proj.bias" in name:  # a shift of all keys changes no weight: without rotation its gradient is rounding
            torch.testing.assert_close(mapped[name], gradient, rtol=1e-5, atol=1e-6)
        else:
            close(mapped[name], gradient)
    back = interop.tensors_from_transformers(reference, model.config, family)
    assert back.keys() == gradients.keys()
    for name, gradient in gradients.items():
        torch.testing.assert_close(back[name], gradient, rtol=1e-5, atol=1e-5 * float(gradient.abs().max()) + 1e-6)


def test_logits_with_a_cache_equal(pair):
    from transformers import DynamicCache

    hf_model, model = pair
    ids, padding, mask, positions = batch()
    theirs_cache, cache = DynamicCache(config=hf_model.config), KVCache(model.config, 3, 12)
    with torch.no_grad():
        for start, end in ((0, 6), (6, 7), (7, 8), (8, 9), (9, 10), (10, 11), (11, 12)):
            part = slice(start, end)
            expected = hf_model(ids[:, part], attention_mask=mask[:, :end].long(), position_ids=positions[:, part],
                                past_key_values=theirs_cache, use_cache=True).logits  # fmt: skip
            logits = model(ids[:, part], cache, padding)
            close(logits[mask[:, part]], expected[mask[:, part]])


def test_greedy_tokens_equal(pair):
    hf_model, model = pair
    ids, padding, mask, _ = batch()
    with torch.no_grad():
        expected = hf_model.generate(ids, attention_mask=mask.long(), max_new_tokens=20, do_sample=False)
    assert torch.equal(generate(model, ids, 20, padding=padding), expected)


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
    hf_model = theirs("llama-plain")
    model = interop.from_transformers(hf_model)
    back = interop.to_transformers(model)
    before = model.embedding.weight.clone()
    with torch.no_grad():
        hf_model.get_input_embeddings().weight.zero_()
        back.get_input_embeddings().weight.zero_()
    assert torch.equal(model.embedding.weight, before)


@pytest.mark.parametrize("case", ["gemma-plain", "llama", "gpt2"])
def test_bfloat16_stays_and_comes_near(case):
    hf_model = theirs(case, torch.bfloat16)
    model = interop.from_transformers(hf_model)
    assert {p.dtype for p in model.parameters()} == {torch.bfloat16}
    ids, *_ = batch()
    with torch.no_grad():
        expected, logits = hf_model(ids[:1]).logits.float(), model(ids[:1]).float()
    assert (logits - expected).abs().max() < 0.03 * expected.abs().max()
    assert interop.to_transformers(model).dtype == torch.bfloat16


@pytest.mark.parametrize("family", interop.FAMILIES)
def test_every_option_of_the_family_is_away_from_its_default_somewhere(family):
    """A new option in a later transformers appears here, so that it is not ignored in silence."""
    from transformers import AutoConfig

    default = AutoConfig.for_model(family)
    own = [name for name in type(default).__annotations__ if name not in IGNORED]
    architecture = [n for n in own if not n.endswith("_token_id") and not n.startswith("summary") and n in SETTABLE]
    unknown = set(own) - SETTABLE - NOT_ARCHITECTURE - {n for n in own if n.startswith("summary")}
    assert not unknown, f"{family} has options that no test knows: {unknown}"
    configs = [AutoConfig.for_model(family, **SIZES | o) for f, o in CASES.values() if f == family]
    for name in architecture:
        assert any(getattr(config, name) != getattr(default, name) for config in configs), name


NOT_ARCHITECTURE = {
    "use_cache", "bos_token_id", "eos_token_id", "pad_token_id", "pretraining_tp", "is_decoder",
    "add_cross_attention", "use_bidirectional_attention",  # refused, see below
}  # fmt: skip
SETTABLE = {
    "vocab_size", "hidden_size", "intermediate_size", "num_hidden_layers", "num_attention_heads", "num_key_value_heads",
    "hidden_act", "max_position_embeddings", "rms_norm_eps", "tie_word_embeddings", "rope_parameters", "attention_bias",
    "attention_dropout", "mlp_bias", "head_dim", "n_positions", "n_embd", "n_layer", "n_head", "n_inner",
    "activation_function", "resid_pdrop", "embd_pdrop", "attn_pdrop", "layer_norm_epsilon", "scale_attn_weights",
    "scale_attn_by_inverse_layer_idx", "reorder_and_upcast_attn", "hidden_dropout", "layer_norm_eps",
    "use_parallel_residual", "use_sliding_window", "sliding_window", "max_window_layers", "layer_types",
}  # fmt: skip


@pytest.mark.parametrize(
    ("family", "options", "message"),
    [
        ("llama", dict(hidden_act="mish"), "activation is 'mish'"),
        ("llama", dict(rope_parameters={"rope_type": "dynamic", "rope_theta": 1e4, "factor": 2.0}), "dynamic"),
        ("llama", dict(rope_parameters=YARN | {"mscale": 0.7}), "mscale"),
        ("llama", dict(rope_parameters=YARN | {"truncate": False}), "truncate"),
        ("llama", dict(rope_parameters=LINEAR | {"partial_rotary_factor": 0.5}), "partial_rotary_factor"),
        ("gpt2", dict(add_cross_attention=True), "add_cross_attention"),
        ("gemma", dict(use_bidirectional_attention=True), "use_bidirectional_attention"),
        ("mistral", dict(), "'mistral' is not one of llama"),
    ],
)
def test_what_a_decoder_lacks_is_refused_in_one_line(family, options, message):
    from transformers import AutoConfig

    with pytest.raises(ValueError, match=message) as caught:
        interop.config_from_transformers(AutoConfig.for_model(family, **SIZES | options))
    assert "\n" not in str(caught.value)


def test_a_model_without_its_head_is_refused():
    with pytest.raises(ValueError, match="a LlamaModel has no output head"):
        interop.from_transformers(theirs("llama-plain").model)


def test_quantized_weights_are_refused():
    hf_model = theirs("llama-plain")
    weight = torch.zeros(61, 24, dtype=torch.int8)
    hf_model.lm_head.weight = torch.nn.Parameter(weight, requires_grad=False)
    with pytest.raises(ValueError, match=r"lm_head.weight is quantized \(torch.int8\)"):
        interop.from_transformers(hf_model)


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
        (dict(window=8), r"llama cannot express window = 8; .*qwen2 cannot express qkv_bias = False"),
        (dict(embedding_scale=2.0), "embedding_scale = 2.0"),
        (dict(norm_weight=False), "norm_weight = False"),
        (dict(attention="mla", kv_lora_rank=8, qk_rope_head_dim=2), "attention = 'mla'"),
        (dict(rope_fraction=1 / 3), "llama cannot express rope_fraction = 0.333"),
        (dict(n_heads=5, head_dim=8), "llama cannot express n_heads = 5"),
    ],
)
def test_an_option_that_no_family_has_is_named(options, message):
    with pytest.raises(ValueError, match=message) as caught:
        interop.config_to_transformers(ModelConfig(**BASE | options))
    assert "\n" not in str(caught.value)


def test_a_family_that_lacks_an_option_says_so():
    with pytest.raises(ValueError, match="gpt2 cannot express ffn = 'gated'"):
        interop.config_to_transformers(ModelConfig(**BASE), family="gpt2")
    with pytest.raises(ValueError, match="'bloom' is not one of"):
        interop.config_to_transformers(ModelConfig(**BASE), family="bloom")


def test_scaled_positions_survive_the_way_there_and_back():
    for scaling in (RopeScaling("linear", 2.0), RopeScaling("llama3", 8.0, 32), RopeScaling("yarn", 4.0, 16)):
        config = ModelConfig(**BASE, rope_scaling=scaling, rope_theta=500.0)
        assert interop.config_from_transformers(interop.config_to_transformers(config)).rope_scaling == scaling
