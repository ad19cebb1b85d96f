"""Items asked in other ways: with other names, in other words, by letters in another order.

The people of Social IQa (Sap et al. 2019) have one of 24 names, which were put in at random. With these exchanged an
item is as likely a member of the test as before: a model that never read the test scores the same on both, but for
chance. Other words for the question are a stronger change, and may make an item harder by themselves.
"""

import random
import re

from slmkit.evaluation.tasks import Item

NAMES = {
    "Addison", "Alex", "Ash", "Aubrey", "Austin", "Bailey", "Cameron", "Carson", "Casey", "Jan", "Jesse", "Jordan",
    "Kai", "Kendall", "Lee", "Quinn", "Remy", "Riley", "Robin", "Sasha", "Skylar", "Sydney", "Taylor", "Tracy",
}  # fmt: skip
NAME = re.compile(rf"\b({'|'.join(sorted(NAMES))})\b")
QUESTIONS = {
    r"What will (\w+) want to do (?:next|after)\?": r"What is \1 likely to wish for after that?",
    r"How would you describe (\w+)\?": r"What kind of person is \1?",
    r"Why did (\w+) do this\?": r"For what reason did \1 act like that?",
    r"What does (\w+) need to do before this\?": r"What must \1 have done first?",
    r"How would (\w+) feel (?:afterwards|as a result)\?": r"What are the feelings of \1 then?",
    r"What will happen to (\w+)\?": r"What comes next for \1?",
}


def question(item: Item) -> str:
    """The question without the frame that BIG-bench puts around it."""
    return item.context.removeprefix("Q: ").removesuffix("\nA:").strip()


def renamed(item: Item, seed: int = 0) -> Item:
    """The item with each person called by another name, in the context and in the choices."""
    texts = (item.context, *item.choices)
    used = sorted(set(NAME.findall("\n".join(texts))))
    others = random.Random(f"{seed} {item.id}").sample(sorted(NAMES.difference(used)), len(used))
    other = dict(zip(used, others, strict=True))
    context, *choices = (NAME.sub(lambda found: other[found[0]], text) for text in texts)
    return item._replace(context=context, choices=tuple(choices))


def reworded(item: Item, seed: int = 0) -> Item:
    """`renamed`, and the question asked in other words if it is of one of the kinds in QUESTIONS, as most are."""
    item = renamed(item, seed)
    context = item.context
    for old, new in QUESTIONS.items():
        context = re.sub(old, new, context)
    return item._replace(context=context)


def lettered(item: Item, turn: int = 0) -> Item:
    """The choices listed behind the question, moved on by `turn` places; a letter is to be picked, such as " B"."""
    order = [(i + turn) % len(item.choices) for i in range(len(item.choices))]
    letters = [chr(ord("A") + i) for i in range(len(order))]
    listed = "".join(f"\n{letter}.{item.choices[i]}" for letter, i in zip(letters, order, strict=True))
    context = f"Question: {question(item)}{listed}\nAnswer:"
    return Item(item.id, context, tuple(f" {letter}" for letter in letters), order.index(item.answer))
