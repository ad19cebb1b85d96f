"""The thirteen open sets: the real loading code on small files of the same shape, and one clear line for what fails."""

import json
import os
import socket
import subprocess
import sys

import pytest

from slmkit.data import corpora, hub
from slmkit.data.corpora import Corpus, load
from slmkit.survey.tables import rows

ENTRIES = hub.entries()
GONE = [name for name, entry in ENTRIES.items() if entry.status == "elsewhere"]
OPEN = [name for name, entry in ENTRIES.items() if entry.status != "elsewhere"]


def documents(count=40):
    return [f"document {i}, with a line\nand another, é 中" for i in range(count)]


def table(column, texts):
    return [{"id": i, column: text, "meta": {"url": f"a/{i}"}} for i, text in enumerate(texts)]


def write(folder, column, texts, ending=".parquet"):
    """Files as the hub has them: several, in folders, with more columns than the text."""
    folder.mkdir(parents=True, exist_ok=True)
    made, half = table(column, texts), len(texts) // 2
    for i, part in enumerate((made[:half], made[half:])):
        path = folder / f"part-{i}{ending}"
        if ending == ".parquet":
            import pyarrow
            import pyarrow.parquet

            pyarrow.parquet.write_table(pyarrow.Table.from_pylist(part), path)
        else:
            path.write_text("".join(json.dumps(row) + "\n" for row in part))
    return folder


@pytest.fixture
def online(monkeypatch):
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: [])


@pytest.fixture
def offline(monkeypatch):
    for name in list(os.environ):
        if name.lower().endswith("_proxy"):
            monkeypatch.delenv(name)

    def fail(*_, **__):
        raise socket.gaierror(-2, "Name or service not known")

    monkeypatch.setattr(socket, "getaddrinfo", fail)


def one_line(error) -> str:
    assert "\n" not in str(error.value)
    return str(error.value)


def test_the_table_has_the_survey_s_thirteen_and_is_complete():
    survey = [row["name"] for row in rows("datasets") if row["uses_2024"]]
    assert [entry.title for entry in ENTRIES.values()] == survey
    assert len(ENTRIES) == 13
    for entry in ENTRIES.values():
        assert entry.status in ("open", "gated", "elsewhere")
        for needed in ("hub_id", "split", "column", "licence", "size", "verified", "source"):
            assert getattr(entry, needed), f"{entry.name} has no {needed}"
        gone = entry.status == "elsewhere"
        assert bool(entry.happened) == bool(entry.nearest_is) == gone
        assert not (entry.config and entry.folder)


# -- from a folder of the reader's -----------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ENTRIES)
@pytest.mark.parametrize("ending", [".parquet", ".jsonl"])
def test_a_folder_stands_in_for_the_hub(name, ending, tmp_path, capsys):
    texts = documents()
    write(tmp_path, ENTRIES[name].column, texts, ending)
    found = load(name, streaming=True, path=tmp_path)
    assert list(found) == list(found) == texts  # from the beginning each time
    assert (found.name, found.licence, found.source) == (name, ENTRIES[name].licence, str(tmp_path))
    corpus = load(name, path=tmp_path)
    assert isinstance(corpus, Corpus)
    assert sorted(corpus.train + corpus.held_out) == sorted(texts)
    assert capsys.readouterr().err == ""  # nothing is fetched, so nothing is announced


def test_the_part_of_a_document_follows_from_its_text(tmp_path):
    texts = [text for text in documents(300) for _ in range(2)]
    write(tmp_path, "text", texts)
    found = load("fineweb-edu", streaming=True, path=tmp_path)
    few, many = found.take(200), found.take(None)
    assert len(few.train) + len(few.held_out) == 200
    assert set(few.held_out) < set(many.held_out)
    assert not set(many.train) & set(many.held_out)
    assert 0.04 < len(many.held_out) / len(texts) < 0.14
    assert few.name == "fineweb-edu"
    assert few.source == str(tmp_path)


def test_blank_documents_are_left_out_and_few_are_enough(tmp_path):
    write(tmp_path, "text", ["first", " \n", None, "second"])
    corpus = load("culturax", streaming=True, path=tmp_path).take(2)
    assert {*corpus.train, *corpus.held_out} == {"first", "second"}


def test_a_stream_reads_no_further_than_it_is_asked(tmp_path):
    seen = []

    def endless():
        for i in range(10_000):
            seen.append(i)
            yield {"text": f"document {i}"}

    hub.Stream("x", "none", "here", endless, "text").take(50)
    assert len(seen) <= 51


@pytest.mark.parametrize("count", [0, 1, -3, 2.5, "many"])
def test_a_count_that_makes_no_corpus(count, tmp_path):
    write(tmp_path, "text", documents())
    with pytest.raises(ValueError, match=r"take\(.*two documents or more"):
        load("fineweb-edu", streaming=True, path=tmp_path).take(count)


def test_the_wrong_column_is_named_with_those_there_are(tmp_path):
    write(tmp_path, "content", documents())
    with pytest.raises(
        ValueError, match="no column 'text', where dolma has its text; its columns are id, content"
    ) as e:
        load("dolma", path=tmp_path)
    one_line(e)


def test_a_column_without_text_is_named(tmp_path):
    write(tmp_path, "text", [1, 2, 3, 4])
    with pytest.raises(ValueError, match="column 'text' holds int, not text"):
        load("dolma", path=tmp_path)


def test_bad_folders_are_named(tmp_path):
    with pytest.raises(NotADirectoryError, match="there is no folder"):
        load("dolma", path=tmp_path / "nothing")
    with pytest.raises(ValueError, match=r"holds no \.parquet or \.jsonl or \.jsonl\.gz file"):
        load("dolma", path=tmp_path)
    write(tmp_path / "a", "text", documents())
    write(tmp_path / "b", "text", documents(), ".jsonl")
    with pytest.raises(ValueError, match="both parquet and JSON lines"):
        load("dolma", path=tmp_path)


@pytest.mark.parametrize("ending", [".parquet", ".jsonl", ".jsonl.gz"])
def test_a_broken_file_is_one_line(ending, tmp_path):
    (tmp_path / f"broken{ending}").write_bytes(b"\x1f\x8b\x08\x00 not what it says {")
    with pytest.raises(ValueError, match="cannot be read as dolma") as error:
        load("dolma", path=tmp_path)
    one_line(error)


# -- from the hub ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ENTRIES)
def test_the_hub_s_layout_is_read(name, tmp_path, monkeypatch, capsys, online):
    """A folder under the hub's name in the working folder is what `datasets` reads instead of the hub."""
    entry, texts = ENTRIES[name], documents()
    home = tmp_path / entry.hub_id
    inside = entry.folder or entry.config or "data"
    write(home / inside, entry.column, texts)
    write(home / "other", entry.column, ["of another part"] * 4)
    if not entry.folder:
        part = {"config_name": entry.config or "default", "data_files": [{"split": "train", "path": f"{inside}/*"}]}
        other = {"config_name": "other", "data_files": [{"split": "train", "path": "other/*"}]}
        (home / "README.md").write_text(f"---\nconfigs: {json.dumps([part, other])}\n---\n")
    monkeypatch.chdir(tmp_path)
    found = load(name, streaming=True, nearest=name in GONE)
    assert list(found) == texts
    assert found.source == entry.hub_id
    assert hub.announcement(entry) in capsys.readouterr().err
    if entry.config or entry.folder:
        assert list(load(name, streaming=True, subset="other", nearest=name in GONE)) == ["of another part"] * 4


@pytest.mark.parametrize("name", ENTRIES)
def test_what_it_is_is_said_before_anything_is_fetched(name, monkeypatch, capsys, online):
    import datasets

    said, asked = [], []

    def instead(*path, **options):
        said.append(capsys.readouterr().err)
        asked.append((path, options))
        return [{ENTRIES[name].column: text} for text in documents(3)]

    monkeypatch.setattr(datasets, "load_dataset", instead)
    entry = ENTRIES[name]
    assert len(list(load(name, streaming=True, nearest=True))) == 3
    for fact in (entry.hub_id, entry.size, entry.licence):
        assert fact in said[0]
    assert ("accept its terms" in said[0]) == (entry.status == "gated")
    assert said[0].count("\n") == 1
    ((path, options),) = asked
    assert path == (entry.hub_id, entry.config or None)
    assert options == {"data_dir": entry.folder or None, "split": entry.split, "streaming": True}


@pytest.mark.parametrize("name", GONE)
def test_a_set_that_is_gone_says_so_and_names_the_nearest(name, capsys):
    with pytest.raises(ValueError, match="cannot be had") as error:
        load(name, streaming=True)
    said, entry = one_line(error), ENTRIES[name]
    for fact in (entry.title, entry.happened, entry.hub_id, "nearest=True"):
        assert fact in said
    assert capsys.readouterr().err == ""


def test_those_withdrawn_are_these():
    assert {"the-pile", "pushshift-reddit", "ccnewsv2", "wudaocorpora"} <= set(GONE)


@pytest.mark.parametrize("name", OPEN)
def test_without_a_network_one_line_says_what_to_do(name, offline, capsys):
    with pytest.raises(ConnectionError, match="connect to the network and try again, or give a folder") as error:
        load(name, streaming=True)
    assert f"with the column {ENTRIES[name].column!r}" in one_line(error)
    assert capsys.readouterr().err.count("\n") == 1


def test_what_the_library_says_without_a_network_is_one_line_too(online, monkeypatch, tmp_path):
    import huggingface_hub

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    with pytest.raises(ConnectionError, match="cannot be reached") as error:
        load("fineweb-edu", streaming=True)
    one_line(error)


def test_a_network_that_breaks_on_the_way_is_one_line():
    def breaking():
        yield {"text": "document"}
        raise ConnectionResetError("peer")

    with pytest.raises(ConnectionError, match="here cannot be reached") as error:
        hub.Stream("fineweb-edu", "none", "here", breaking, "text").take(5)
    one_line(error)


@pytest.mark.parametrize(
    ("said", "kind", "message"),
    [
        ("Dataset 'x' is a gated dataset on the Hub.", PermissionError, "is gated: open its page .*`hf auth login`"),
        ("Dataset 'x' doesn't exist on the Hub.", FileNotFoundError, "on the hub no longer"),
    ],
)
def test_gated_and_vanished_sets_say_what_to_do(said, kind, message, monkeypatch, online):
    import datasets

    def refuse(*_, **__):
        raise datasets.exceptions.DatasetNotFoundError(said)

    monkeypatch.setattr(datasets, "load_dataset", refuse)
    with pytest.raises(kind, match=message) as error:
        load("starcoder", streaming=True)
    assert "with the column 'content'" in one_line(error)


# -- names and options -----------------------------------------------------------------------------------------------


def test_an_unknown_name_lists_all_and_guesses():
    with pytest.raises(ValueError, match="did you mean fineweb-edu") as error:
        load("FineWeb Edu")
    for name in [*corpora.BUILT_IN, *ENTRIES]:
        assert name in one_line(error)
    with pytest.raises(ValueError, match=r"or a folder of text files$"):
        load("qqqqqq")


def test_options_that_do_not_fit(tmp_path):
    with pytest.raises(ValueError, match=r"too large to load whole.*streaming=True\)\.take"):
        load("dolma")
    for options in ({"streaming": True}, {"path": tmp_path}, {"subset": "x"}, {"nearest": True}):
        with pytest.raises(ValueError, match="leave out streaming"):
            load("tinyworld", **options)
    with pytest.raises(ValueError, match="has one part only"):
        load("refinedweb", streaming=True, subset="en")
    with pytest.raises(ValueError, match="leave out subset"):
        load("culturax", path=tmp_path, subset="en")


def test_nothing_is_written_outside_the_build_folder_and_the_import_is_lazy(tmp_path):
    write(tmp_path / "files", "text", documents())
    (tmp_path / "home").mkdir()
    code = (
        "import sys; from slmkit.data import corpora; assert 'datasets' not in sys.modules\n"
        f"corpora.load('fineweb-edu', path={str(tmp_path / 'files')!r})\n"
        "import datasets, huggingface_hub\n"
        "print(datasets.config.HF_DATASETS_CACHE, huggingface_hub.constants.HF_HUB_CACHE)"
    )
    environment = {key: value for key, value in os.environ.items() if not key.startswith(("HF_", "XDG_"))}
    environment |= {"HOME": str(tmp_path / "home"), "SLMKIT_BUILD": str(tmp_path / "build")}
    ran = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, cwd=tmp_path)
    assert ran.returncode == 0, ran.stderr
    assert all(str(tmp_path / "build") in place for place in ran.stdout.split())
    assert not list((tmp_path / "home").rglob("*"))
