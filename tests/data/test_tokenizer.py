"""Any Unicode text to ids and back, exactly; the same text gives the same tokenizer."""

import json

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from slmkit.data.tinyworld import stories
from slmkit.data.tokenizer import END_OF_TEXT, Tokenizer

TEXTS = [story.text for story in stories(200)] + ["naïve café, Œuvre, 東京", "x = {'a': 1}\n\tif x:\n        return\n"]
SPECIAL = (
    *(END_OF_TEXT, "<|endof", "<|im_start|>", "<pad>", "\x00", "\x7f\r\n", " \t  "),
    *("👩🏽\u200d🚀", "🇧🇷", "e\u0301", "\ufeff", "\u2028"),
)
ANY_TEXT = st.lists(st.text() | st.sampled_from(SPECIAL)).map("".join)


@pytest.fixture(scope="module")
def tokenizer():
    return Tokenizer.train(TEXTS, 400)


@given(ANY_TEXT)
@example(END_OF_TEXT * 2)
@example("".join(map(chr, range(256))))
@example("\U0010ffff\ue000\ufffe")
@settings(max_examples=300)
def test_round_trip_is_exact_and_no_text_makes_the_separator(tokenizer, text):
    ids = tokenizer.encode(text)
    assert tokenizer.decode(ids) == text
    assert tokenizer.end_of_text not in ids
    assert all(0 <= i < tokenizer.vocab_size for i in ids)


@given(st.lists(ANY_TEXT, max_size=5))
@settings(max_examples=50)
def test_a_batch_is_encoded_like_its_texts(tokenizer, texts):
    assert tokenizer.encode_documents(texts) == [tokenizer.encode(text) for text in texts]


def test_merges_shorten_the_text(tokenizer):
    text = TEXTS[0]
    assert len(tokenizer.encode(text)) < len(text.encode()) / 2
    assert len(tokenizer.encode("é東👩")) <= len("é東👩".encode())


def test_the_separator_is_one_token_that_decodes_to_its_name(tokenizer):
    ids = [*tokenizer.encode("a"), tokenizer.end_of_text, *tokenizer.encode("b")]
    assert tokenizer.decode(ids) == f"a{END_OF_TEXT}b"


def test_a_cut_character_shows_the_replacement_character():
    tokenizer = Tokenizer.train(["abab"], 258)  # no merges that would make 東 one token
    assert tokenizer.decode(tokenizer.encode("a東")[:-1]).startswith("a\ufffd")


def test_training_is_deterministic_and_keeps_to_the_size(tokenizer):
    again = Tokenizer.train(iter(TEXTS), 400)
    assert again.backend.to_str() == tokenizer.backend.to_str()
    assert again.digest == tokenizer.digest
    assert tokenizer.vocab_size == 400
    assert Tokenizer.train(TEXTS, 401).digest != tokenizer.digest
    assert Tokenizer.train(TEXTS, 257).vocab_size == 257  # bytes alone


def test_a_small_text_gives_what_pairs_it_has():
    assert Tokenizer.train(["ab"], 1000).vocab_size == 258


def test_save_and_load(tokenizer, tmp_path):
    tokenizer.save(tmp_path / "tokenizer.json")
    loaded = Tokenizer.load(tmp_path / "tokenizer.json")
    assert (loaded.digest, loaded.end_of_text, loaded.vocab_size) == (tokenizer.digest, tokenizer.end_of_text, 400)
    text = "".join(SPECIAL)
    assert loaded.encode(text) == tokenizer.encode(text)
    assert loaded.decode(loaded.encode(text)) == text


def test_lone_surrogates_are_named(tokenizer):
    for use in (
        lambda: tokenizer.encode("ab\ud83d"),
        lambda: tokenizer.encode_documents(["fine", "ab\ud83d"]),
        lambda: Tokenizer.train(["fine", "ab\ud83d"], 300),
    ):
        with pytest.raises(ValueError, match=r"character 2 is a lone surrogate \(U\+D83D\).*errors='replace'"):
            use()


def test_ids_outside_the_vocabulary_are_named(tokenizer):
    for ids in ([0, 400], [-1, 5]):
        with pytest.raises(ValueError, match="0 to 399"):
            tokenizer.decode(ids)
    assert tokenizer.decode([]) == ""


def test_training_names_what_it_cannot_use():
    with pytest.raises(ValueError, match="need at least 257"):
        Tokenizer.train(TEXTS, 256)
    for empty in ([], [""], ["", "a"]):
        with pytest.raises(ValueError, match="no text to train"):
            Tokenizer.train(empty, 300)


def test_loading_names_what_it_cannot_use(tokenizer, tmp_path):
    path = tmp_path / "tokenizer.json"
    with pytest.raises(FileNotFoundError, match="no tokenizer at"):
        Tokenizer.load(path)
    path.write_text("{}")
    with pytest.raises(ValueError, match="not a tokenizer file"):
        Tokenizer.load(path)
    state = json.loads(tokenizer.backend.to_str())
    state["added_tokens"] = []
    del state["model"]["vocab"][END_OF_TEXT]
    path.write_text(json.dumps(state))
    with pytest.raises(ValueError, match=r"has no <\|endoftext\|> token"):
        Tokenizer.load(path)
