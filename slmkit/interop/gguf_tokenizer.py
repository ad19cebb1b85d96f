"""A byte-level BPE tokenizer in and out of a GGUF file's header."""

import json

from slmkit.data.tokenizer import END_OF_TEXT, Tokenizer

NORMAL, CONTROL, USER, UNUSED = 1, 3, 4, 5  # the types of tokens there; control tokens are marks, not text
DIGITS = {"type": "Digits", "individual_digits": True}


def write_tokenizer(writer, tokenizer: Tokenizer, vocab_size: int):
    """Adds its fields to a gguf.GGUFWriter. Raises ValueError for a tokenizer that llama.cpp would read otherwise."""
    stored = json.loads(tokenizer.backend.to_str())
    splitting = _splitting(stored)
    if tokenizer.vocab_size > vocab_size:
        raise ValueError(f"the tokenizer has {tokenizer.vocab_size} tokens and the model's vocab_size is {vocab_size}")
    tokens, kinds = [f"<unused{i}>" for i in range(vocab_size)], [UNUSED] * vocab_size
    for token, i in tokenizer.backend.get_vocab().items():
        tokens[i], kinds[i] = token, NORMAL
    for i, added in tokenizer.backend.get_added_tokens_decoder().items():
        kinds[i] = CONTROL if added.special else USER
    merges = [merge if isinstance(merge, str) else " ".join(merge) for merge in stored["model"]["merges"]]
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre(splitting)
    writer.add_token_list(tokens)
    writer.add_token_types(kinds)
    writer.add_token_merges(merges or [""])
    # Without these, llama.cpp assumes GPT-2's own numbers.
    writer.add_bos_token_id(tokenizer.end_of_text)
    writer.add_eos_token_id(tokenizer.end_of_text)
    writer.add_add_bos_token(False)


def _splitting(stored: dict) -> str:
    """llama.cpp's name for how a text is split before its bytes are merged."""
    split = stored["pre_tokenizer"] or {}
    parts = split.get("pretokenizers", [split])
    byte_level = parts[-1].get("type") == "ByteLevel" and not parts[-1]["add_prefix_space"] and parts[-1]["use_regex"]
    if stored["model"]["type"] == "BPE" and not stored["normalizer"] and byte_level:
        if len(parts) == 1:
            return "gpt-2"
        if parts[:-1] == [DIGITS]:
            return "smollm"
    raise ValueError("the tokenizer is not byte-level BPE that splits as GPT-2's or SmolLM's does; others cannot be "
                     "written to GGUF here")  # fmt: skip


def read_tokenizer(field) -> Tokenizer | None:
    """The tokenizer of a file whose fields `field(key)` returns; None where it has none."""
    import tokenizers
    from tokenizers import decoders, models, pre_tokenizers

    if (model := field("tokenizer.ggml.model")) == "no_vocab":
        return None
    splitting = field("tokenizer.ggml.pre")
    if model != "gpt2" or splitting not in ("gpt-2", "smollm"):
        raise ValueError(f"tokenizer.ggml.model is {model!r} and tokenizer.ggml.pre {splitting!r}; what is read here "
                         "is 'gpt2' with 'gpt-2' or 'smollm'")  # fmt: skip
    kinds = dict(zip(field("tokenizer.ggml.tokens"), field("tokenizer.ggml.token_type"), strict=True))
    tokens = [token for token, kind in kinds.items() if kind != UNUSED]
    merges = [tuple(pair.split(" ")) for pair in field("tokenizer.ggml.merges") if pair]
    backend = tokenizers.Tokenizer(models.BPE({token: i for i, token in enumerate(tokens)}, merges))
    byte_level = pre_tokenizers.ByteLevel(add_prefix_space=False)
    # In SmolLM's, each digit stands alone, so that numbers are read place by place.
    digits = pre_tokenizers.Digits(individual_digits=True)
    backend.pre_tokenizer = pre_tokenizers.Sequence([digits, byte_level]) if splitting == "smollm" else byte_level
    backend.decoder = decoders.ByteLevel()
    backend.add_special_tokens([token for token in tokens if kinds[token] == CONTROL])
    return Tokenizer(backend, backend.token_to_id(END_OF_TEXT))
