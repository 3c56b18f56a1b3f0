"""Tell one story: draw who wants what and what goes wrong, then fill the sentences."""

from dataclasses import dataclass
from functools import cache
from hashlib import blake2b
from random import Random
from typing import Literal, get_args

from .cast import cast, draw_kind
from .lexicon import Entry, load_lexicon
from .plots import Plot, Trouble, load_plots
from .scene import Scene

Split = Literal["train", "valid"]

# One combination of hero, wish and trouble in ten is held out; the key makes this hash ours alone.
VALID_SHARE = 0.1
_SPLIT_KEY = b"hornbook stories, version 1"


@dataclass(frozen=True, slots=True)
class Combination:
    """What a story is about; the split is a function of it alone, whatever the seed."""

    kind: str  # of the hero: "girl", "badger"
    wish: str  # the plot and the thing wished for: "cook pancakes"
    trouble: str

    @property
    def split(self) -> Split:
        """The split that every story about this combination belongs to."""
        text = f"{self.kind}|{self.wish}|{self.trouble}".encode("ascii")
        drawn = int.from_bytes(blake2b(text, digest_size=4, key=_SPLIT_KEY).digest(), "big")
        return "valid" if drawn < VALID_SHARE * 2**32 else "train"


@dataclass(frozen=True, slots=True)
class _Library:
    pools: dict[str, tuple[Entry, ...]]
    plots: tuple[Plot, ...]


@cache
def _library() -> _Library:
    lexicon = load_lexicon()
    return _Library(plots=load_plots(lexicon), pools=lexicon.pools)


def story(seed: int, index: int, split: Split) -> str:
    """Tell the story of this number: a pure function, the same on every machine.

    No story of one split is ever told in the other, whatever the seeds: they are about different
    combinations of the hero's kind, the wish and the trouble.

    Args:
        seed: Chooses the collection of stories; any integer.
        index: Number of the story in its collection, from 0.
        split: "train", or "valid" for a story about a combination held out from training.

    Returns:
        Plain ASCII text of about 500 to 1,200 bytes; a blank line parts the paragraphs.

    Raises:
        TypeError: If the seed or the index is not an integer.
        ValueError: If the index is negative or the split unknown.

    Example:
        >>> story(seed=0, index=0, split="train") == story(seed=0, index=0, split="train")
        True
        >>> combination(seed=0, index=0, split="valid").split
        'valid'
    """
    return _tell(seed, index, split)[1]


def combination(seed: int, index: int, split: Split) -> Combination:
    """Say what the story of this number is about, with the arguments and errors of `story`."""
    return _tell(seed, index, split)[0]


def _tell(seed: int, index: int, split: Split) -> tuple[Combination, str]:
    for name, value in (("seed", seed), ("index", index)):
        if not isinstance(value, int) or isinstance(value, bool):
            msg = f"{name} must be an integer, got {value!r}"
            raise TypeError(msg)
    if index < 0:
        msg = f"index must be 0 or more, got {index}"
        raise ValueError(msg)
    if split not in get_args(Split):
        msg = f'split must be "train" or "valid", got {split!r}'
        raise ValueError(msg)
    library = _library()
    digest = blake2b(f"{seed} {index} {split}".encode("ascii"), digest_size=8).digest()
    rng = Random(int.from_bytes(digest, "big"))
    while True:
        scene = Scene(rng, library.pools)
        plot = scene.pick(library.plots)
        trouble = scene.pick(plot.troubles)
        kind = draw_kind(scene)
        wish = scene.draw(library.pools[trouble.pool])
        drawn = Combination(kind, f"{plot.name} {wish.text}", trouble.name)
        # A badger dressed up as a badger, or one that finds a lost badger, would be no story.
        if wish.text != kind and drawn.split == split:
            break
    scene.set("object", wish)
    scene[trouble.pool] = scene["object"]  # so that {toy2} is another toy than the one wished for
    cast(scene, kind, plot, scene["object"])
    return drawn, "\n\n".join(_paragraphs(scene, plot, trouble))


def _paragraphs(scene: Scene, plot: Plot, trouble: Trouble) -> list[str]:
    """Opening and wish, trouble, help, ending: each passage chosen anew, some left out now and then."""

    def one_of(passage: tuple[Entry, ...]) -> str:
        return scene.tell(scene.pick(passage))

    def frame(name: str, probability: float = 1.0) -> str:
        return one_of(plot.frames.get(name) or scene.pool(name)) if scene.chance(probability) else ""

    beginning = [frame("opening"), frame("about", 0.6), one_of(plot.wish)]
    setback = [one_of(trouble.happens), f"{scene['sad_sign']}." if scene.chance(0.4) else ""]
    meeting, answer = [frame("meet")], [one_of(trouble.tell)]
    rescue, thanks = [one_of(trouble.help)], frame("thanks", 0.6)
    ending = [one_of(plot.end), frame("closing", 0.6)]
    # Who speaks begins a paragraph.
    praise = [thanks] if thanks.startswith('"') else []
    rescue += [thanks] if not praise else []
    if scene.chance(0.3):
        beginning, setback = beginning + setback, []
    parts = (beginning, setback, meeting, answer, rescue, praise, ending)
    return [text for part in parts if (text := " ".join(filter(None, part)))]
