"""One story's memory: who is in it, and which word stands in which slot.

A template asks for `{toy}` or `{a_toy}`; the scene draws a word from the pool `toy` the first time and
gives the same word ever after, so that a thing keeps its name and color through the story.
"""

from collections.abc import Mapping, Sequence
from random import Random
from typing import TypeVar

from .lexicon import Entry

T = TypeVar("T")

_VOWEL_SOUNDS = ("a", "e", "i", "o", "u", "hour", "honest", "heir")
_CONSONANT_SOUNDS = ("uni", "use", "uku", "eu", "one-", "once")
_UNINFLECTED = ("unin", "unim")  # these begin with uni- and a vowel sound

# subject, object, possessive, reflexive, and the past tense of "to be"
PRONOUNS: Mapping[str, tuple[str, str, str, str, str]] = {
    "she": ("she", "her", "her", "herself", "was"),
    "he": ("he", "him", "his", "himself", "was"),
    "they": ("they", "them", "their", "themself", "were"),
    "it": ("it", "it", "its", "itself", "was"),
}
# How each mark (one thing, several, a mass) is taken up again.
_AGREEMENT: Mapping[str, Mapping[str, str]] = {
    "it": {"": "it", "+": "them", "~": "it"},
    "they": {"": "it", "+": "they", "~": "it"},
    "was": {"": "was", "+": "were", "~": "was"},
    "this": {"": "this", "+": "these", "~": "this"},
}


def with_article(noun: str) -> str:
    """Put a or an before a singular noun, by its sound.

    Args:
        noun: The noun with whatever stands before it.

    Example:
        >>> [with_article(noun) for noun in ("owl", "unicorn", "honest fox", "uninvited guest", "kite")]
        ['an owl', 'a unicorn', 'an honest fox', 'an uninvited guest', 'a kite']
    """
    consonant = noun.startswith(_CONSONANT_SOUNDS) and not noun.startswith(_UNINFLECTED)
    return f"an {noun}" if noun.startswith(_VOWEL_SOUNDS) and not consonant else f"a {noun}"


class Scene(dict[str, str]):
    """Slot to text; a slot asked for the first time is drawn from the pool of its name.

    `{x2}` is another word from the pool `x` than `{x}`. `{a_x}` is x with its article; `{it_x}`, `{they_x}`,
    `{was_x}` and `{this_x}` agree with x in number; a capital begins a sentence: `{A_x}`.
    """

    def __init__(self, rng: Random, pools: Mapping[str, tuple[Entry, ...]]) -> None:
        super().__init__()
        self._random = rng.random  # the one method whose numbers Python promises never to change
        self._pools = pools
        self._marks: dict[str, str] = {}

    def pick(self, options: Sequence[T]) -> T:
        """Draw a sentence, a plot, a way to say it: the first ones of a list are told most often.

        With the square of a uniform number the first of four gets half of the draws.
        """
        number = self._random()
        return options[int(number * number * len(options))]  # products round alike on every machine

    def draw(self, pool: Sequence[Entry]) -> Entry:
        """Draw a word: of many, a few are common and most are rare, as in any text (Zipf).

        With the cube of a uniform number the first tenth of a pool gets nearly half of the draws.
        """
        number = self._random()
        return pool[int(number * number * number * len(pool))]

    def pool(self, name: str) -> tuple[Entry, ...]:
        """All entries of a pool."""
        return self._pools[name]

    def chance(self, probability: float) -> bool:
        """Say yes with this probability."""
        return self._random() < probability

    def tell(self, entry: Entry) -> str:
        """Fill every slot of an entry."""
        text = entry.text
        return text.format_map(self) if "{" in text else text

    def set(self, slot: str, entry: Entry) -> None:
        """Let a slot stand for this entry; the entry's attributes become slots too."""
        self[slot] = self.tell(entry)
        self._marks[slot] = entry.mark
        for name, alternatives in entry.attributes:
            self.set(name, self.pick(alternatives))

    def __missing__(self, slot: str) -> str:
        pool = self._pools.get(slot)
        if pool is not None:
            self.set(slot, self.draw(pool))
        elif slot[0].isupper():
            text = self[slot[0].lower() + slot[1:]]
            self[slot] = text[0].upper() + text[1:]
        elif slot[-1].isdigit() and slot[:-1] in self._pools:
            self._draw_another(slot)
        else:
            self._agree(slot)
        return self[slot]

    def _draw_another(self, slot: str) -> None:
        base = slot[:-1]
        taken = [self[name] for name in (base, *(f"{base}{digit}" for digit in "23456789")) if name in self]
        while True:
            entry = self.draw(self._pools[base])
            text = self.tell(entry)
            if text not in taken:
                self[slot] = text
                self._marks[slot] = entry.mark
                return

    def _agree(self, slot: str) -> None:
        form, _, noun = slot.partition("_")
        if not noun or (form != "a" and form not in _AGREEMENT):
            msg = f"a sentence asks for {{{slot}}}, but no pool of the lexicon has this name"
            raise KeyError(msg)
        text = self[noun]
        mark = self._marks.get(noun, "")
        if form == "a":
            self[slot] = f"some {text}" if mark else with_article(text)
        else:
            self[slot] = _AGREEMENT[form][mark]
