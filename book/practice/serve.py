"""A model behind an endpoint that speaks OpenAI's protocol, and what that costs: python book/practice/serve.py"""

import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import psutil
import torch
from llama_cpp import Llama
from openai import APIConnectionError, APIStatusError, OpenAI

from slmkit import generate, interop, load, pretrained
from slmkit.course import finding
from slmkit.data import corpora
from slmkit.data.tokenizer import Tokenizer
from slmkit.profiling.engine import Engine

PROMPT, NEW, REPEATS, CONTEXT = 50, 50, 9, 512  # tokens, the survey's 50 and 50; repeats
DEFAULTS = {"logits_all": True, "interrupt_requests": True}  # what the server does unless it is told otherwise


@contextmanager
def served(path: Path, context: int = CONTEXT, threads: int = 1, **options) -> Iterator[OpenAI]:
    """A client of llama.cpp's server on a GGUF file, on this machine alone; the server ends with the block."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    options = {"logits_all": False, "interrupt_requests": False} | options
    options |= {"model": path, "n_ctx": context, "n_threads": threads, "n_threads_batch": threads}
    options |= {"host": "127.0.0.1", "port": port}
    command = [f"--{name}={value}" for name, value in options.items()]
    with tempfile.TemporaryFile() as said:
        server = subprocess.Popen([sys.executable, "-m", "llama_cpp.server", *command], stdout=said, stderr=said)
        try:
            client = OpenAI(base_url=f"http://127.0.0.1:{port}/v1", api_key="none", max_retries=1)
            wait(server, client)
            yield client
        finally:
            server.terminate()
            server.wait(30)


def wait(server: subprocess.Popen, client: OpenAI, seconds: float = 60):
    """Until the server answers. Raises RuntimeError when it has ended, or takes longer."""
    end = time.monotonic() + seconds
    while server.poll() is None and time.monotonic() < end:
        try:
            return client.models.list()
        except APIConnectionError:
            time.sleep(0.1)
    raise RuntimeError(f"the server did not begin within {seconds:g} s (exit code {server.returncode})")


def asked(client: OpenAI, question: str, **options) -> str:
    """The answer of a model that was tuned for conversations."""
    messages = [{"role": "user", "content": question}]
    answer = client.chat.completions.create(model="any", messages=messages, temperature=0, **options)
    return answer.choices[0].message.content


def streamed(client: OpenAI, text: str, new: int) -> Iterator[str]:
    """What the likeliest continuation of a text is, piece by piece."""
    for part in client.completions.create(model="any", prompt=text, max_tokens=new, temperature=0, stream=True):
        if part.choices[0].text:
            yield part.choices[0].text


def likelihoods(client: OpenAI, text: str, new: int) -> list[tuple[str, float]]:
    """Each token of the likeliest continuation with the logarithm of its probability."""
    found = client.completions.create(model="any", prompt=text, max_tokens=new, temperature=0, logprobs=1)
    return list(zip(found.choices[0].logprobs.tokens, found.choices[0].logprobs.token_logprobs))


def refusals(client: OpenAI) -> dict[str, int]:
    """The status of the answer to bad requests; 200 for those that are answered as if they were good."""
    said = {"role": "user", "content": "Hello"}
    write, talk = client.completions.create, client.chat.completions.create
    requests = {
        "prompt longer than the context": lambda: write(model="any", prompt="word " * 2 * CONTEXT, max_tokens=1),
        "the same, streamed": lambda: list(streamed(client, "word " * 2 * CONTEXT, 1)),
        "max_tokens -1": lambda: write(model="any", prompt="Hello", max_tokens=-1),
        "temperature -1": lambda: write(model="any", prompt="Hello", max_tokens=1, temperature=-1),
        "temperature hot": lambda: write(model="any", prompt="Hello", max_tokens=1, temperature="hot"),
        "unknown role": lambda: talk(model="any", messages=[said | {"role": "king"}], max_tokens=1),
        "two prompts": lambda: write(model="any", prompt=["Hello", "World"], max_tokens=1),
        "unknown model": lambda: write(model="no such model", prompt="Hello", max_tokens=1),
    }
    return {name: _status(request) for name, request in requests.items()}


def _status(request) -> int:
    try:
        request()
    except APIStatusError as error:
        return error.status_code
    return 200


# -- what it costs


def timed(pieces: Iterator) -> tuple[float, float, int]:
    """Seconds to the first piece, seconds for each further one, and how many came."""
    times = [time.perf_counter()]
    times += [time.perf_counter() for _ in pieces]
    return times[1] - times[0], (times[-1] - times[1]) / (len(times) - 2), len(times) - 1


def processor_time() -> float:
    """Seconds of this process and of the servers that it began; other programs on the machine do not count."""
    here = psutil.Process()
    return sum(sum(one.cpu_times()[:2]) for one in (here, *here.children()))


def prompts(count: int, tokenizer: Tokenizer, tokens: int = PROMPT) -> list[str]:
    """Beginnings of speeches, each another one: the server keeps the last prompt and would not read it again."""
    return [tokenizer.decode(tokenizer.encode(text[:2000])[:tokens]) for text in corpora.load("speeches").train[:count]]


def in_class(model: Llama, text: str, new: int) -> Iterator[str]:
    for part in model.create_completion(text, max_tokens=new, temperature=0, stream=True):
        if part["choices"][0]["text"]:
            yield part["choices"][0]["text"]


def costs(path: Path, texts: list[str], new: int = NEW):
    """One text after the other, each in this process by the engine's functions and by the class that the server uses,
    then through the endpoint; and the last one again, which the server still has in its cache."""
    found, pieces = {}, set()
    with ExitStack() as open_ones:
        engine = open_ones.enter_context(Engine(path, context=CONTEXT))
        model = Llama(str(path), n_ctx=CONTEXT, n_threads=1, n_threads_batch=1, verbose=False)
        client = open_ones.enter_context(served(path, CONTEXT))
        plain = open_ones.enter_context(served(path, CONTEXT, **DEFAULTS))
        ways = {
            "functions": lambda text: engine.stream(engine.tokenize(text), new),
            "class": lambda text: in_class(model, text, new),
            "endpoint": lambda text: streamed(client, text, new),
            "defaults": lambda text: streamed(plain, text, new),
        }
        for i, text in enumerate(texts):
            for name, way in ways.items():
                before = processor_time()
                first, further, count = timed(way(text))
                pieces.add(count)
                if i:  # the first text warms all of them up
                    found.setdefault(f"{name} first", []).append(1e3 * first)
                    found.setdefault(f"{name} further", []).append(1e3 * further)
                    found.setdefault(f"{name} processor", []).append(1e3 * (processor_time() - before))
        again = [1e3 * timed(streamed(client, texts[-1], new))[0] for _ in texts[1:]]
        model.close()
    told = {"pieces": sorted(pieces), "prompt": PROMPT, "new": new, "again first": again}
    note = "milliseconds to the first piece, for each further one, of processor time, a text each"
    finding("practice-serve", note, **found, **told)


def own(folder: Path, text: str, new: int = 24):
    """A reader's model from `slmkit train`: exported, served, and asked for the text that slmkit.generate gives."""
    model, tokenizer = load(folder), Tokenizer.load(folder / "tokenizer.json")
    ids = torch.tensor([tokenizer.encode(text)])
    ours = tokenizer.decode(generate(model, ids, max_new_tokens=new)[0, ids.shape[1] :].tolist())
    with tempfile.TemporaryDirectory() as work:
        path = interop.to_gguf(model, Path(work) / "own.gguf", tokenizer)
        with served(path, context=model.config.max_context) as client:
            theirs = "".join(streamed(client, text, new))
    print(f"slmkit:   {text}{ours}\nendpoint: {text}{theirs}")
    return ours, theirs


if __name__ == "__main__":
    published = pretrained.gguf_path()
    if len(sys.argv) > 1:
        own(Path(sys.argv[1]), "The people of the United")
    else:
        with served(published) as opened:
            print(asked(opened, "Why do small language models matter?", max_tokens=40))
            finding("practice-refusals", "status of the answer", **refusals(opened))
        costs(published, prompts(REPEATS + 1, pretrained.load()[1]))
