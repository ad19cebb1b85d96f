"""The page on LoRA: its recipe runs, its formulas hold for peft's layers, its counts are peft's, its record its own."""

import importlib.util
import json
import math
import re

import pytest
import torch

from slmkit import Decoder, ModelConfig, interop
from slmkit.course import facts, findings, lora_page
from slmkit.course.lora_page import adapter_parameters, first_step, state_bytes
from slmkit.data.packing import TokenRow
from slmkit.paths import root
from slmkit.survey import zoo

FOLDER = root() / "book" / "training"
PAGE = (FOLDER / "lora.md").read_text(encoding="utf-8")
pytestmark = pytest.mark.filterwarnings("ignore::FutureWarning")  # transformers' own, when peft wraps a model


@pytest.fixture(scope="module")
def recipe():
    spec = importlib.util.spec_from_file_location("lora_recipe", FOLDER / "adapt.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def decoder(**options) -> Decoder:
    torch.manual_seed(0)
    shape = dict(vocab_size=300, d_model=32, n_layers=2, n_heads=4, n_kv_heads=2, d_ff=96, max_context=64) | options
    return Decoder(ModelConfig(**shape)).eval()


def adapted(recipe, model: Decoder):
    """With adapters that are not at their start."""
    made = recipe.with_adapters(model, rank=4, alpha=12).eval()
    for name, parameter in made.named_parameters():
        if "lora_B" in name:
            torch.nn.init.normal_(parameter, std=0.05)
    return made


def pair(made):
    """One adapted layer, its A and its B."""
    layer = made.base_model.model.model.layers[1].mlp.down_proj
    return layer, layer.lora_A["default"].weight, layer.lora_B["default"].weight


IDS = torch.arange(60).view(2, 30) * 3


def test_the_model_begins_as_it_was_and_only_b_moves_first(recipe):
    model = decoder()
    made = recipe.with_adapters(model)
    with torch.no_grad():
        assert torch.equal(made(IDS).logits, interop.to_transformers(model)(IDS).logits)
    made(IDS).logits.logsumexp(-1).sum().backward()
    _, a, b = pair(made)
    assert (a.grad == 0).all()
    assert (b.grad != 0).any()
    assert not any(p.requires_grad for name, p in made.named_parameters() if "lora_" not in name)


def test_an_adapted_layer_is_the_formula(recipe):
    layer, a, b = pair(adapted(recipe, decoder()))
    x = torch.randn(5, 96)
    with torch.no_grad():
        by_hand = x @ layer.base_layer.weight.T + 12 / 4 * (x @ a.T) @ b.T
        torch.testing.assert_close(layer(x), by_hand, atol=1e-6, rtol=0)


def test_merged_and_converted_back_it_answers_alike_and_the_change_has_the_rank(recipe):
    model = decoder()
    made = adapted(recipe, model)
    with torch.no_grad():
        before, after = made(IDS).logits, recipe.merged(made)
        torch.testing.assert_close(after(IDS), before, atol=1e-5, rtol=0)
        assert (after(IDS) - model(IDS)).abs().max() > 0.01
    changed = [(new - old) for old, new in zip(model.blocks.parameters(), after.blocks.parameters()) if old.ndim == 2]
    assert {torch.linalg.matrix_rank(one, rtol=1e-4).item() for one in changed} == {4}
    assert torch.equal(after.embedding.weight, model.embedding.weight), "embedding and head stay"


@pytest.mark.parametrize("rank", [1, 8])
def test_the_ratio_of_the_first_steps(rank):
    """A layer wide enough that its mean is near the expectation; the ratio does not depend on the rank."""
    import peft

    width, ratios = 512, []
    for seed in range(24):
        torch.manual_seed(seed)
        x, changes = torch.randn(1, width), []
        for lora in (True, False):
            layer = torch.nn.Sequential(torch.nn.Linear(width, 8, bias=False))
            if lora:
                layer = peft.get_peft_model(layer, peft.LoraConfig(r=rank, lora_alpha=16, target_modules=["0"]))
            trained = [p for p in layer.parameters() if p.requires_grad]
            adam = torch.optim.AdamW(trained, 1e-3, eps=1e-20, weight_decay=0)
            before = layer(x)
            before.square().sum().backward()
            adam.step()
            changes.append((layer(x) - before).abs().mean().item())
        ratios.append(changes[0] / changes[1])
    assert sum(ratios) / 24 == pytest.approx(first_step(width), rel=0.4 if rank == 1 else 0.15)


def test_a_small_change_is_lost_in_bfloat16(recipe):
    model = decoder().bfloat16().float()
    made = adapted(recipe, model)
    _, _, b = pair(made)
    with torch.no_grad():
        b.mul_(1e-3)
    new, old = (one.blocks[1].ffn.down.weight for one in (recipe.merged(made), model))
    assert not torch.equal(new, old)
    assert (new.bfloat16() == old.bfloat16()).float().mean() > 0.9


@pytest.mark.filterwarnings("ignore:Model with")  # said again when it is merged
def test_an_adapter_on_a_tied_head_makes_another_model_when_it_is_merged():
    import peft

    hf = interop.to_transformers(decoder(tied_embeddings=True))
    with pytest.warns(UserWarning, match="tie"):
        made = peft.get_peft_model(hf, peft.LoraConfig(target_modules=["lm_head"], init_lora_weights=False)).eval()
    with torch.no_grad():
        before, embedded = made(IDS).logits, made.get_input_embeddings().weight.clone()
        merged = made.merge_and_unload()
        assert not torch.equal(merged.get_input_embeddings().weight, embedded)
        assert (merged(IDS).logits - before).abs().max() > 0.01


SHAPES = [{}, {"n_kv_heads": 4, "tied_embeddings": False}, {"ffn": "standard", "activation": "gelu", "d_ff": 128}]


@pytest.mark.parametrize("options", SHAPES, ids=str)
def test_adapters_are_counted_as_peft_counts_them(recipe, options):
    model = decoder(**options)
    trained, _ = recipe.with_adapters(model, rank=3).get_nb_trainable_parameters()
    assert adapter_parameters(model.config, 3) == trained


def test_counts_of_the_page():
    config = zoo.config(lora_page.ADAPTED)
    assert adapter_parameters(config, 8, lora_page.ATTENTION) == 30 * 8 * 2 * (576 + 576 + 576 + 192)
    assert state_bytes(config) == 16 * 134_515_008
    assert state_bytes(config, 8) == 4 * 134_515_008 + 16 * adapter_parameters(config, 8)
    assert math.isclose(first_step(576), 16 / 576 / 3**0.5)


def test_the_recipe_runs_on_a_small_model(recipe, tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("SLMKIT_BUILD", str(tmp_path))
    draw = torch.Generator().manual_seed(0)
    sizes = {"learn": 3000, "plays": 200, "speeches": 200}
    rows = {name: TokenRow(torch.randint(300, (n,), generator=draw), 3 * n, "", 300) for name, n in sizes.items()}
    recipe.compare(decoder(), rows, steps=2)
    made = {path.stem: json.loads(path.read_text()) for path in (tmp_path / "records/cpu/findings").glob("*.json")}
    assert made.keys() == {f"lora-{name}" for name in ("plays", "speeches", "full", "stored", "setting", "rates")}
    assert list(made["lora-plays"]["arms"]) == ["published", "LoRA", "LoRA, rate of full", "full"]
    assert made["lora-plays"]["arms"]["LoRA"]["parameters"] == adapter_parameters(decoder().config, recipe.RANK)
    assert made["lora-stored"]["values"]["rank"] == [recipe.RANK] * 3
    assert made["lora-full"]["seeds"] == [0, 1, 2]


def test_the_text_is_split_by_play(recipe, fetched, monkeypatch):
    from slmkit.data.packages import plays

    fetched(plays)
    monkeypatch.setattr(recipe, "packed", lambda documents, tokenizer: documents)
    rows = recipe.texts(None)
    learn, held_out = rows["learn"], rows["plays"]
    assert (len(learn), len(held_out)) == (29, 6)
    assert all(len(passage) == 300 for passage in held_out + rows["speeches"])
    assert not [passage for passage in held_out if any(passage in text for text in learn)]


def test_the_page_quotes_what_there_is():
    quoted = set(re.findall(r"\{fact\}`([^`]+)`", PAGE))
    assert {name for name in quoted if name.startswith("lora.")} == set(lora_page.FACTS)
    assert quoted <= set(facts.FACTS)
    assert all(0 < len(say()) < 60 for say in lora_page.FACTS.values())


def test_the_record_is_the_recipe_s_and_bears_the_page_out(recipe):
    kept = findings.kept()
    setting = kept["lora-setting"]["values"]
    assert (setting["rank"], setting["alpha"]) == (recipe.RANK, recipe.ALPHA) == (lora_page.RANK, lora_page.ALPHA)
    assert setting["tokens"] == recipe.STEPS * recipe.ROWS * recipe.CONTEXT
    assert {name: setting[name] for name in recipe.RATES} == {name: some[0] for name, some in recipe.RATES.items()}
    assert len(kept["lora-plays"]["seeds"]) >= 3
    assert kept["lora-plays"]["command"] == "python book/training/adapt.py"
    arms = kept["lora-plays"]["arms"]
    assert arms["LoRA"]["parameters"] == adapter_parameters(zoo.config(lora_page.ADAPTED), recipe.RANK)
    assert abs(arms["LoRA, rate of full"]["difference"]) < abs(arms["LoRA"]["difference"]) / 2, "as the page says"
