"""Filters of web text by rules: datatrove's blocks for the rules of Gopher, C4 and FineWeb, and one for the language.

Each is known by a name. The thresholds are datatrove's defaults unless FILTERS says otherwise: they are the papers'.
A filter tells why it drops a document by a short reason, such as gopher_short_doc.
"""

import inspect
import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from importlib import import_module
from typing import TYPE_CHECKING

from slmkit.checks import is_number

if TYPE_CHECKING:
    from datatrove.data import Document
    from datatrove.pipeline.filters.base_filter import BaseFilter


@dataclass(frozen=True)
class Entry:
    """A filter: its class in datatrove, what we set differently, what it looks for, and the paper."""

    block: str
    options: dict
    looks_for: str
    source: str


FILTERS = {
    # The whole document in one of `languages`; see Language below.
    "language": Entry("", {}, "the languages asked for", "Lui and Baldwin 2012, langid.py"),
    # Table A1: at most 30% of lines or paragraphs twice, 20% of the characters in them; the commonest 2-, 3- or 4-gram
    # at most 20, 18, 16% of the characters; repeated 5- to 10-grams at most 15 to 10%.
    "gopher_repetition": Entry("GopherRepetitionFilter", {}, "text that repeats itself", "Rae et al. 2021, Table A1"),
    # 50 to 100,000 words of 3 to 10 letters on average; # or … at most one to ten words; at most 90% of lines start
    # with a bullet, 30% end with an ellipsis; 80% of words have a letter; two of eight stop words are there.
    "gopher_quality": Entry("GopherQualityFilter", {}, "what is no English prose", "Rae et al. 2021, Section A.1.1"),
    # Drops lines of fewer than 3 words, with "javascript" or a cookie notice; whole documents with a curly bracket,
    # "lorem ipsum" or fewer than 5 sentences. C4 also drops each line without a full stop at its end. FineWeb
    # leaves that out, since it takes about 30% of the tokens (Penedo et al. 2024, Section 3.5); so do we.
    "c4": Entry("C4QualityFilter", {"filter_no_terminal_punct": False}, "menus, notices and code",
                "Raffel et al. 2020, Section 2.2"),
    # At least 12% of the lines end with a full stop or the like, at most 67% have 30 characters or fewer, at most 1%
    # of the characters lie in repeated lines; at most 3 line breaks to ten words.
    "fineweb": Entry("FineWebQualityFilter", {}, "lists and broken lines", "Penedo et al. 2024, Section 3.6"),
}  # fmt: skip


# What a filter's reason means; {n} is a number in it. Options can move the thresholds, so that none stands here.
REASONS = {
    "gopher_short_doc": "too few words",
    "gopher_long_doc": "too many words",
    "gopher_below_avg_threshold": "words too short on average",
    "gopher_above_avg_threshold": "words too long on average",
    "gopher_too_many_hashes": "too many # among the words",
    "gopher_too_many_ellipsis": "too many ellipses among the words",
    "gopher_too_many_bullets": "too many lines begin with a bullet",
    "gopher_too_many_end_ellipsis": "too many lines end with an ellipsis",
    "gopher_below_alpha_threshold": "too few of the words and marks have a letter",
    "gopher_enough_stop_words": "too few stop words, such as: the, of, and",
    "empty": "no text",
    "dup_para_frac": "too many paragraphs repeat another",
    "dup_para_char_frac": "paragraphs that repeat another are too much of the text",
    "dup_line_frac": "too many lines repeat another",
    "dup_line_char_frac": "lines that repeat another are too much of the text",
    "top_{n}_gram": "the commonest run of {n} words is too much of the text",
    "duplicated_{n}_n_grams": "runs of {n} words that repeat are too much of the text",
    "lorem_ipsum": "has the filler text lorem ipsum",
    "curly_bracket": "has a curly bracket, like code",
    "too_few_sentences": "too few sentences",
    "line_punct_ratio": "too few lines end with a full stop or the like",
    "short_line_ratio": "too many short lines",
    "char_dup_ratio": "lines that repeat another are too much of the text",
    "list_ratio": "too many line breaks among the words",
    "language_unsure": "no language is likely enough",
}


def meaning(reason: str) -> str | None:
    """A filter's reason in words; None when it says all itself, such as language_fr."""
    number = re.search(r"\d+", reason)
    words = REASONS.get(re.sub(r"\d+", "{n}", reason))
    return words and words.format(n=number and number[0])


class Filter:
    """A step of a pipeline: a filter by name, with thresholds of its own. `options` are those of datatrove's class.

    Raises ValueError for an unknown name or option.
    """

    def __init__(self, name: str, **options):
        if name not in FILTERS:
            raise ValueError(f"there is no filter {name!r}; it is one of {', '.join(FILTERS)}")
        self.name, self.options = name, FILTERS[name].options | options
        allowed = dict(inspect.signature(self._class()).parameters)
        allowed.pop("exclusion_writer", None)
        for option, value in options.items():
            if option not in allowed:
                raise ValueError(f"the filter {name} has no option {option!r}; it has {', '.join(sorted(allowed))}")
            if is_number(allowed[option].default) and not (value is None or is_number(value)):
                raise ValueError(f"{option} of the filter {name} is {value!r}; it must be a number")

    def __repr__(self):
        return f"Filter({', '.join([repr(self.name), *(f'{key}={value!r}' for key, value in self.options.items())])})"

    def _class(self):
        if self.name == "language":
            return Language
        return getattr(import_module("datatrove.pipeline.filters"), FILTERS[self.name].block)

    def block(self, exclusion_writer=None) -> "BaseFilter":
        """The datatrove block; what it drops goes to the writer, if there is one."""
        if self.name != "language":
            return self._class()(exclusion_writer=exclusion_writer, **self.options)
        from datatrove.pipeline.filters import LambdaFilter

        return LambdaFilter(Language(**self.options), exclusion_writer=exclusion_writer)


class Language:
    """Keeps documents in one of `languages` (ISO 639-1), by the model that ships with py3langid.

    datatrove's own filter downloads its model. The reason names the language that was found, or says `language_unsure`
    when its probability is below the threshold: FineWeb's value for another model, which mainly meets text too short.
    """

    def __init__(self, languages: Sequence[str] = ("en",), threshold: float = 0.65):
        self.languages = (languages,) if isinstance(languages, str) else tuple(languages)
        self.threshold = threshold
        if not (is_number(threshold) and 0 <= threshold <= 1):
            raise ValueError(f"threshold is {threshold!r}; it must be a probability from 0 to 1")
        known = set(identifier().labels)
        for language in self.languages:
            if language not in known:
                raise ValueError(f"language {language!r} is not one of those that are told apart: {sorted(known)}")

    def __call__(self, document: "Document") -> bool | tuple[bool, str]:
        found, probability = identifier().classify(document.text)
        if found not in self.languages:
            return False, f"language_{found}"
        return True if probability >= self.threshold else (False, "language_unsure")


@cache
def identifier():
    """The model of py3langid, which is arrays and no pickle; classify(text) gives a language and its probability."""
    from py3langid.langid import MODEL_FILE, LanguageIdentifier

    return LanguageIdentifier.from_model_file(MODEL_FILE, norm_probs=True)


def block(name: str, **options) -> "BaseFilter":
    """The datatrove block of that name."""
    return Filter(name, **options).block()


@cache
def _kept(name: str, options: tuple) -> "BaseFilter":
    return block(name, **dict(options))


def judge(text: str, name: str, **options) -> str | None:
    """Why the filter drops a text, by datatrove's reason; None when it passes. In this process, for a few texts.

    The filter c4 also takes lines out of what it keeps, which is not seen here.
    """
    from datatrove.data import Document

    found = _kept(name, tuple(sorted(options.items()))).filter(Document(text, "judged"))
    keeps, reason = found if isinstance(found, tuple) else (found, None)
    return None if keeps else reason or name
