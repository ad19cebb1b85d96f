"""Items in other names and words: what changes, and what does not."""

from slmkit.evaluation.rewording import NAME, NAMES, lettered, question, renamed, reworded
from slmkit.evaluation.tasks import Item

CONTEXT = "Q: Tracy took Jan's dog out. Tracy ran. Why did Tracy do this?\nA:"
ITEM = Item("7", CONTEXT, (" To please Jan", " Ashes", " For Tracy"), 2)


def test_each_person_gets_one_other_name_in_question_and_choices():
    item = renamed(ITEM)
    first, second = NAME.findall(item.context)[:2]
    assert {first, second} <= NAMES - {"Tracy", "Jan"}
    assert first != second
    assert item.context == ITEM.context.replace("Tracy", first).replace("Jan", second)
    assert item.choices == (f" To please {second}", " Ashes", f" For {first}")
    assert (item.id, item.answer) == (ITEM.id, ITEM.answer)
    assert renamed(ITEM) == item
    assert {renamed(ITEM, seed).context for seed in range(9)} != {item.context}


def test_other_words_ask_the_same_of_the_same_person():
    assert question(reworded(ITEM)) == question(renamed(ITEM)).replace("Why did", "For what reason did").replace(
        "do this", "act like that"
    )
    assert reworded(ITEM).choices == renamed(ITEM).choices


def test_letters_follow_the_choices_as_they_move():
    places = []
    for turn in range(3):
        item = lettered(ITEM, turn)
        assert item.choices == (" A", " B", " C")
        assert f"\n{item.choices[item.answer].strip()}. For Tracy" in item.context
        places.append(item.answer)
    assert sorted(places) == [0, 1, 2]
    assert lettered(ITEM).context.startswith("Question: Tracy took")
