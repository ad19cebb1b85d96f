"""Filters by rules: each says why by datatrove's reason, thresholds can be moved, and the language model is offline."""

import inspect
import re

import pytest
from datatrove.pipeline import filters

from slmkit.data.filtering import FILTERS, REASONS, Filter, block, identifier, judge, meaning

SENTENCE = "The people of the country have to be told that it will rain on the old roof with great force tomorrow. "
PROSE = """\
When the ferry stopped running, people on the island began to count what the mainland had given them without a thought.
Bread came first, since nobody had baked for more than a dozen since the old mill burned down in the war.
A retired teacher found her grandmother's notes on sour dough, and within a week three kitchens were warm by sunrise.
Letters were next, because a village that cannot write to its children feels its distance twice.
Two brothers who fished for lobster agreed to carry a bag across the strait whenever the wind allowed it.
They asked for nothing, though somebody usually left a jar of honey or a bottle of cider in their shed.
By autumn, meetings that used to end in quarrels about parking had turned into long talks about seed, salt and wool.
Old maps were unrolled, and fields that had been lawns for a generation went back under the plough.
It was not a happy year, and several families left as soon as the boats returned in spring.
Those who stayed say that they would not have missed it, which may be memory doing its kind work.
"""


@pytest.mark.parametrize("name", FILTERS)
def test_prose_passes_every_filter(name):
    assert judge(PROSE, name) is None


@pytest.mark.parametrize(("name", "text", "reason"), [
    ("gopher_quality", "Too short to have the words that it needs.", "gopher_short_doc"),
    ("gopher_quality", "# house and # with " * 40, "gopher_too_many_hashes"),
    ("gopher_quality", "rain roof road river stone tree house light " * 20, "gopher_enough_stop_words"),
    ("gopher_quality", "a I o " * 40, "gopher_below_avg_threshold"),
    ("gopher_quality", "the 1700 2300 99000 with 1800 12000 31000 " * 20, "gopher_below_alpha_threshold"),
    ("gopher_quality", "\n".join(f"- {SENTENCE}" for _ in range(12)), "gopher_too_many_bullets"),
    ("gopher_quality", "\n".join(SENTENCE.strip() + ".." for _ in range(12)), "gopher_too_many_end_ellipsis"),
    ("gopher_repetition", "\n\n".join([PROSE] * 2 + [SENTENCE]), "dup_para_frac"),
    ("gopher_repetition", PROSE + "\n" + "\n".join([SENTENCE] * 12), "dup_line_frac"),
    ("gopher_repetition", SENTENCE * 12, "top_4_gram"),
    ("c4", "function () { return 1; }\n" + PROSE, "curly_bracket"),
    ("c4", "Lorem ipsum dolor sit amet.\n" + PROSE, "lorem_ipsum"),
    ("c4", "Home\nLogin\nTwo good sentences are here. They are not enough for it.", "too_few_sentences"),
    ("fineweb", "\n".join(f"entry of the list {i}" for i in range(40)), "line_punct_ratio"),
    ("fineweb", "\n".join(f"Line {i}." for i in range(40)), "short_line_ratio"),
    ("language", "Le conseil se réunit chaque année avec le roi de France et la reine du Portugal.", "language_fr"),
])  # fmt: skip
def test_the_reason_is_datatrove_s(name, text, reason):
    assert judge(text, name) == reason


def test_each_reason_has_words():
    """Those that stand in datatrove's code, and no others."""
    code = "".join(inspect.getsource(getattr(filters, FILTERS[name].block)) for name in FILTERS if name != "language")
    reasons = set(re.findall(r'return False, f?"([^"]+)"', code))
    assert len(reasons) > 20
    assert reasons | {"language_unsure"} == set(REASONS)
    assert meaning("duplicated_7_n_grams") == "runs of 7 words that repeat are too much of the text"
    assert meaning("top_2_gram").startswith("the commonest run of 2 words")
    assert meaning("gopher_short_doc") == "too few words"
    assert meaning("language_fr") is None


def test_thresholds_can_be_moved():
    assert judge(SENTENCE * 2, "gopher_quality") == "gopher_short_doc"
    assert judge(SENTENCE * 2, "gopher_quality", min_doc_words=20) is None
    assert judge(PROSE, "language", languages=("de", "fr")) == "language_en"
    found, probability = identifier().classify("Hotel Berlin")
    assert probability < 0.95
    assert judge("Hotel Berlin", "language", languages=found, threshold=0.95) == "language_unsure"
    assert judge("Hotel Berlin", "language", languages=found, threshold=0) is None


def test_a_block_is_datatrove_s_and_c4_cuts_lines_but_not_those_without_a_full_stop():
    from datatrove.data import Document
    from datatrove.pipeline.filters.base_filter import BaseFilter

    assert all(isinstance(block(name), BaseFilter) for name in FILTERS)
    no_stop = "A line that ends without its full stop"
    document = Document(f"{PROSE}Home\nPlease enable javascript to see this.\n{no_stop}", "1")
    assert block("c4").filter(document) is True
    assert document.text == f"{PROSE}{no_stop}"


@pytest.mark.parametrize(("make", "says"), [
    (lambda: Filter("gopher"), "no filter 'gopher'; it is one of language, gopher_repetition"),
    (lambda: Filter("fineweb", exclusion_writer=1), "no option 'exclusion_writer'"),
    (lambda: Filter("gopher_quality", min_doc_words="many"), "min_doc_words.*'many'.*number"),
    (lambda: block("language", languages=["xx"]), "'xx' is not one"),
    (lambda: block("language", threshold=2), "threshold is 2"),
])  # fmt: skip
def test_what_cannot_be_is_one_clear_line(make, says):
    with pytest.raises(ValueError, match=says) as error:
        make()
    assert "\n" not in str(error.value)
