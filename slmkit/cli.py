"""The command `slmkit`: its options, and one line for whatever goes wrong.

Exit codes: 0 done, 1 something failed, 2 the input cannot be used, 130 interrupted.
"""

import argparse
import os
import re
import sys
from collections.abc import Sequence
from difflib import get_close_matches
from importlib import import_module, metadata

CORPORA = "speeches, code, tinyworld, or a folder of .txt and .md files"
MODEL = "a model of the survey, a folder that `slmkit train` or slmkit.save wrote, or a configuration as .json"
MODULES = (
    dict.fromkeys(("train", "generate"), "textcommands")
    | dict.fromkeys(("count", "compare", "models", "claims"), "surveycommands")
    | {"profile": "profilecommand"}
    | dict.fromkeys(("capstone_train", "capstone_score"), "capstonecommands")
)
FAILURES = (OSError, RuntimeError, ArithmeticError, ImportError, MemoryError)


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs one command and returns its exit code."""
    parser = build_parser()
    try:
        options, left = parser.parse_known_args(arguments)
        if left:
            options.parser.unknown(left[0])
    except SystemExit as end:  # after --help, or the one line of Parser.error
        return end.code or 0
    if options.version:
        print(f"slmkit {metadata.version('slmkit')}")
        return 0
    if options.command is None:
        options.parser.print_help()
        return 0
    try:
        module = import_module(f"slmkit.{MODULES.get(options.command, 'commands')}")
        return getattr(module, options.command)(options) or 0
    except KeyboardInterrupt:
        return 130
    except BrokenPipeError:  # the reader of a pipe, such as `head`, has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except (ValueError, FileNotFoundError, NotADirectoryError, IsADirectoryError) as error:
        return complain(options.parser.prog, error, 2)
    except FAILURES as error:
        if isinstance(error, ModuleNotFoundError) and (told := needed(error)):
            error = ImportError(told)
        return complain(options.parser.prog, error, 1)


def needed(error: ModuleNotFoundError) -> str | None:
    """One line on the optional part that is missing, from slmkit doctor's list."""
    from slmkit import doctor

    return doctor.needed((error.name or "").partition(".")[0])


def complain(prog: str, error: Exception, code: int) -> int:
    """The error as one line on stderr; returns `code`."""
    text = " ".join(str(error).split()) or type(error).__name__
    print(f"{prog}: {text}", file=sys.stderr)
    return code


class Parser(argparse.ArgumentParser):
    """An argument parser whose errors are one line that names the nearest right choice."""

    def __init__(self, *args, example: str = "", **options):
        epilog = f"example: {example}" if example else None
        super().__init__(*args, epilog=epilog, allow_abbrev=False,
                         formatter_class=argparse.RawDescriptionHelpFormatter, **options)  # fmt: skip
        self.set_defaults(parser=self, command=None)

    def error(self, message: str):
        if choice := re.match(r"argument (.+?): invalid choice: '(.*?)' \(choose from (.*)\)", message):
            name, value, choices = choice[1], choice[2], re.findall(r"[^\s,']+", choice[3])
            what = "there is no command" if name == "COMMAND" else f"{name} cannot be"
            message = f"{what} {value!r}{nearest(value, choices)}"
        message = re.sub(r"^argument ([^:]+): ", r"\1: ", message)
        self.exit(2, f"{self.prog}: {message}{' ' if message.endswith('?') else '; '}see {self.prog} --help\n")

    def unknown(self, argument: str):
        """Ends with the line for an argument that no option takes."""
        if not argument.startswith("-"):
            self.error(f"{argument!r} is one argument too many")
        known = [name for action in self._actions for name in action.option_strings if name.startswith("--")]
        self.error(f"there is no option {argument.partition('=')[0]}{nearest(argument, known)}")


def nearest(value: str, choices: Sequence[str]) -> str:
    """ "; did you mean …?" when a choice is near, else the choices."""
    near = get_close_matches(value.partition("=")[0], choices, n=1, cutoff=0.6)
    return f"; did you mean {near[0]}?" if near else f"; it is one of {', '.join(choices)}"


def whole(least: int):
    """A type for argparse: a whole number of at least `least`."""

    def read(text: str) -> int:
        if not re.fullmatch(r"[+-]?\d+", text) or int(text) < least:
            raise argparse.ArgumentTypeError(f"{text!r} must be a whole number of at least {least}")
        return int(text)

    return read


def number(text: str) -> float:
    """A type for argparse: a number. What range makes sense is for the function that uses it to say."""
    try:
        return float(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number") from None


def new_file(text: str) -> str:
    """A type for argparse: a file that can be written, told before a long measurement and not after it."""
    if os.path.isdir(text) or not os.path.isdir(os.path.dirname(text) or "."):
        raise argparse.ArgumentTypeError(f"{text!r} cannot be written: it is a folder, or its folder does not exist")
    return text


def thread_counts(text: str) -> list[int]:
    """A type for argparse: "1,2" -> [1, 2]."""
    return [whole(1)(part.strip()) for part in text.split(",")]


# -- the options of each command -------------------------------------------------------------------------------------


def build_parser() -> Parser:
    parser = Parser("slmkit", description="Build, train, measure and run small language models.",
                    example="slmkit count SmolLM2-135M")  # fmt: skip
    parser.add_argument("--version", action="store_true", help="print the version and stop")
    commands = parser.add_subparsers(metavar="COMMAND", title="commands", parser_class=Parser)

    def command(name: str, says: str, example: str, into=commands, function: str = "") -> Parser:
        added = into.add_parser(name, help=says, description=says[0].upper() + says[1:] + ".", example=example)
        added.set_defaults(command=function or name)
        return added

    command("doctor", "what this machine can run, what is missing, and how to get it", "slmkit doctor")
    count = command("count", "a model's parameters, bytes and FLOPs, from its configuration alone",
                    "slmkit count SmolLM2-135M --context 2048")  # fmt: skip
    count.add_argument("name", metavar="NAME", help=MODEL)
    count.add_argument("--context", type=whole(1), default=1024, help="tokens that attention sees (default 1024)")
    compare = command("compare", "two models side by side, from their configurations alone",
                      "slmkit compare Qwen2-0.5B Qwen1.5-0.5B")  # fmt: skip
    compare.add_argument("first", metavar="A", help=MODEL)
    compare.add_argument("second", metavar="B", help="the other one")
    compare.add_argument("--context", type=whole(1), default=1024, help="tokens that attention sees (default 1024)")
    models = command(
        "models", "the survey's models", "slmkit models --where 'year=2024 attention=GQA vocab_size>50000'"
    )
    models.add_argument("--where", metavar="CONDITIONS", default="", help="such as 'year=2024 vocab_size>50000'; "
                        "operators: = != > < >= <=, and ~ for contains")  # fmt: skip
    models.add_argument("--since", action="store_true", help="also our rows of models released since the survey")
    models.add_argument("--sort", metavar="COLUMN", help="smallest first")
    models.add_argument("--columns", metavar="A,B,…", help="which columns to print")
    claims = command("claims", "the survey's claims and their verdicts", "slmkit claims --lab 01 --verdict disagrees")
    claims.add_argument("--lab", help="only the claims of this lab, such as 01")
    claims.add_argument("--verdict", metavar="WORDS", help="only those whose verdict contains these words")
    claims.add_argument("--mark", choices=["K", "Q", "!"], help="K boxed insight, Q with a number, ! an error")
    _clean(command("clean", "filters and deduplicates documents; run again, it goes on where it was stopped",
                   "slmkit clean texts cleaned --steps gopher_quality,minhash --workers 2"))  # fmt: skip
    lab = command("lab", "lists the labs, or runs one", "slmkit lab list", function="lab_help")
    actions = lab.add_subparsers(metavar="COMMAND")
    listed = command("list", "the labs: their last runs with time and memory, and the exercises that you passed",
                     "slmkit lab list", actions, "lab_list")  # fmt: skip
    for table in (count, compare, models, claims, listed):
        table.add_argument("--json", action="store_true", help="print JSON, for programs")
    run = command("run", "runs a lab", "slmkit lab run 00 --profile smoke", actions, "lab_run")
    run.add_argument("number", metavar="NN", help="the lab's number, such as 00")
    run.add_argument("--profile", choices=["smoke", "cpu", "full"], default=os.environ.get("SLMKIT_PROFILE") or "cpu",
                     help="smoke, cpu (default) or full")  # fmt: skip
    _capstone(command("capstone", "trains or scores a design for the capstone, lab 16",
                      "slmkit capstone score build/capstone/reference", function="lab_help"), command)  # fmt: skip
    _grade(command("grade", "grades a class's notebooks: points as CSV, and a page of feedback for each student",
                   "slmkit grade submitted --out graded"))  # fmt: skip
    _train(command("train", "trains a decoder on text; run again, it goes on where it was stopped",
                   "slmkit train --corpus speeches --steps 300 --out build/speeches"))  # fmt: skip
    _generate(command("generate", "continues a text, or chats",
                      'slmkit generate --model SmolLM2-135M-Instruct --chat --prompt "What is a star?"'))  # fmt: skip
    _profile(command("profile", "measures the latency and memory of a model on this machine, like a row of the survey",
                     "slmkit profile SmolLM2-135M --threads 1 --json mine.json"))  # fmt: skip
    bench = command("bench", "speed beside the peers: training, decoding, cleaning data, evaluation, runtime",
                    "slmkit bench --threads 1 --quick")  # fmt: skip
    bench.add_argument("--threads", type=thread_counts, default=[1, 2], help="such as 1 or 1,2 (the default)")
    bench.add_argument("--quick", action="store_true", help="fewer repeats, a smaller model, a tenth of the documents")
    bench.add_argument(
        "--only", choices=["models", "data", "evaluation", "runtime"], help="one part of it (default all)"
    )
    bench.add_argument("--json", metavar="FILE", type=new_file, help="record (default build/records/bench.json, "
                       "bench-data.json, bench-evaluation.json, bench-runtime.json)")  # fmt: skip
    return parser


def _train(train: Parser):
    train.add_argument("--corpus", default="speeches", help=f"{CORPORA} (default speeches)")
    train.add_argument("--out", metavar="FOLDER", required=True, help="for checkpoints, the log and the model")
    train.add_argument("--config", metavar="FILE", help="the whole run as a TOML file: model, corpora, stages, "
                       "schedule; beside it only --out, --save-every and --device count")  # fmt: skip
    train.add_argument("--vocab", type=whole(257), default=2048, help="entries of the tokenizer (default 2048)")
    for name, default, says in (
        ("--d-model", 128, "width"), ("--layers", 4, "blocks"), ("--heads", 4, "query heads"),
        ("--steps", 1000, "steps"), ("--batch", 16, "rows a step"), ("--context", 256, "tokens a row"),
        ("--save-every", 100, "steps between checkpoints"),
    ):  # fmt: skip
        train.add_argument(name, type=whole(1), default=default, help=f"{says} (default {default})")
    train.add_argument("--kv-heads", type=whole(1), help="key/value heads (default: as many as query heads)")
    train.add_argument("--learning-rate", type=number, default=3e-3, help="highest rate (default 0.003)")
    train.add_argument("--schedule", choices=["cosine", "wsd", "constant"], default="cosine", help="default cosine")
    train.add_argument("--precision", choices=["auto", "fp32", "bf16"], default="auto", help="default auto")
    train.add_argument("--seed", type=whole(0), default=0, help="of weights and batches (default 0)")
    train.add_argument("--device", choices=["auto", "cpu", "cuda", "mps"], default="auto", help="default auto")


def _capstone(capstone: Parser, command):
    actions = capstone.add_subparsers(metavar="COMMAND")
    train = command("train", "trains a design and hands it in, in a folder", "slmkit capstone train small --out "
                    "build/capstone/reference", actions, "capstone_train")  # fmt: skip
    train.add_argument(
        "design", metavar="DESIGN", help="a design.json, or tiny, small or large for a budget's reference"
    )
    train.add_argument("--out", metavar="FOLDER", required=True, help="for the hand-in; a new folder")
    score = command("score", "scores a hand-in and gives it a place on the local leaderboard",
                    "slmkit capstone score build/capstone/reference", actions, "capstone_score")  # fmt: skip
    score.add_argument("folder", metavar="FOLDER", help="with design.json, the model and its tokenizer")
    score.add_argument("--hidden", metavar="FILE", help="a text from the corpus's source that nobody has seen: the "
                       "score is on it, and a model that knows it too well is refused")  # fmt: skip
    score.add_argument("--again", action="store_true", help="also train the design again, on this machine, and refuse "
                       "other bits")  # fmt: skip


def _grade(grade: Parser):
    grade.add_argument("folder", metavar="FOLDER", help="submissions, as STUDENT/LAB.ipynb or STUDENT/LAB/LAB.ipynb")
    grade.add_argument("--out", metavar="FOLDER", required=True, help="for points.csv and STUDENT.md")
    grade.add_argument("--lab", metavar="NN", help="only this lab, such as 03 (default all)")
    grade.add_argument("--seconds", type=whole(1), default=10, help="processor time for an exercise; ten times as much "
                       "by the clock (default 10)")  # fmt: skip
    grade.add_argument("--memory", metavar="MIB", type=whole(64), default=1024, help="memory for an exercise "
                       "(default 1024)")  # fmt: skip


def _clean(clean: Parser):
    clean.add_argument("source", metavar="SOURCE", help="a folder of .txt, .md, .jsonl, .jsonl.gz and .parquet files, "
                       "or one such file")  # fmt: skip
    clean.add_argument("target", metavar="TARGET", help="a new or empty folder, for the documents and report.json")
    clean.add_argument("--steps", metavar="A,B,…", help="in their order, options after colons: language, "
                       "gopher_repetition, gopher_quality, c4, fineweb, minhash:buckets=20, lines "
                       "(default: all but lines)")  # fmt: skip
    clean.add_argument("--workers", type=whole(1), default=1, help="processes (default 1)")
    clean.add_argument("--tasks", type=whole(1), default=8, help="pieces of work; a killed run loses those that were "
                       "not done (default 8)")  # fmt: skip
    clean.add_argument("--column", default="text", help="the column that holds the text (default text)")
    clean.add_argument("--limit", type=whole(1), default=10_000_000, help="bytes of the longest document that is read "
                       "(default 10000000)")  # fmt: skip
    clean.add_argument("--format", choices=["jsonl.gz", "jsonl", "parquet"], default="jsonl.gz",
                       help="of the output (default jsonl.gz)")  # fmt: skip
    clean.add_argument("--json", action="store_true", help="print the report as JSON, for programs")


def _profile(profile: Parser):
    profile.add_argument("name", metavar="MODEL", help=f"{MODEL}; or a .gguf file. Random weights take as long as "
                         "trained ones")  # fmt: skip
    profile.add_argument("--engine", choices=["torch", "llama.cpp"], help="default torch; for a .gguf file llama.cpp")
    profile.add_argument("--quant", metavar="FORMAT", help="llama.cpp's format, such as Q4_K_M or Q8_0 (default F16, "
                         "or as the file is)")  # fmt: skip
    profile.add_argument("--dtype", choices=["float32", "bfloat16"], help="torch's (default float32)")
    profile.add_argument("--device", choices=["cpu", "cuda"], help="torch's (default cpu)")
    profile.add_argument("--threads", type=whole(1), help="default: as torch has it")
    profile.add_argument("--prompt", type=whole(1), default=50, help="tokens to read (default 50, as in the survey)")
    profile.add_argument("--new-tokens", type=whole(2), default=50, help="tokens to write (default 50)")
    profile.add_argument("--repeats", type=whole(1), default=10, help="default 10; up to three times as many when they "
                         "differ much")  # fmt: skip
    profile.add_argument("--anyway", action="store_true", help="report times of an unsteady machine too, with a mark")
    profile.add_argument("--json", metavar="FILE", type=new_file, help="write the record, with raw repeats, to FILE")


def _generate(generate: Parser):
    generate.add_argument("--model", metavar="FOLDER", default="SmolLM2-135M-Instruct",
                          help="a folder that `slmkit train` wrote (default SmolLM2-135M-Instruct)")  # fmt: skip
    generate.add_argument("--prompt", help="the text to continue; with --chat, the question")
    generate.add_argument("--chat", action="store_true", help="a conversation; without --prompt it is interactive, "
                          "and Ctrl-D ends it")  # fmt: skip
    generate.add_argument("--max-new-tokens", type=whole(1), default=200, help="default 200, or what the context holds")
    generate.add_argument("--temperature", type=number, default=0.7, help="0 takes the likeliest token (default 0.7)")
    generate.add_argument("--top-k", type=whole(1), help="draw from the K likeliest tokens only")
    generate.add_argument("--top-p", type=number, help="draw from the likeliest tokens that together reach P")
    generate.add_argument("--seed", type=whole(0), help="for the same text each time")


if __name__ == "__main__":
    sys.exit(main())
