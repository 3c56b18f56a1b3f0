"""The hero and the helper: kind, name and pronoun, which stay with them through the story."""

from .plots import Plot
from .scene import PRONOUNS, Scene, with_article

CHILDREN = ("girl", "boy", "child")
_CHILD_PRONOUN = {"girl": "she", "boy": "he", "child": "they"}
_CHILD_NAMES = {"girl": "girl_name", "boy": "boy_name", "child": "child_name"}


def draw_kind(scene: Scene) -> str:
    """Draw what the hero is: a child in two stories of five, else an animal or a creature of fairy tales."""
    if scene.chance(0.4):
        # A child without a gender is "they", which a reader of three may take for both: one child in twenty.
        return "child" if scene.chance(0.05) else "girl" if scene.chance(0.5) else "boy"
    return scene["animal"]


def cast(scene: Scene, kind: str, plot: Plot, wish: str) -> None:
    """Fill the slots of hero and helper.

    Args:
        scene: The story's memory.
        kind: The hero's kind, as drawn by `draw_kind`.
        plot: Says who may help.
        wish: What the plot's wish is about; the helper's job where the plot asks for it.
    """
    scene["kind"] = kind
    if kind in CHILDREN:
        names, pronoun = _CHILD_NAMES[kind], _CHILD_PRONOUN[kind]
    else:
        scene["animal"] = kind
        names, pronoun = "animal_name", "it" if scene.chance(0.06) else "she" if scene.chance(0.5) else "he"
    scene["hero"] = hero = scene[names]
    _set_pronouns(scene, pronoun, "")

    helper = plot.helper
    if helper == "any":
        helper = "family" if scene.chance(0.3) else "worker" if scene.chance(0.3) else "peer"
    pronoun = "she" if scene.chance(0.5) else "he"
    if helper == "family":
        title = scene[f"family_{pronoun}"]
        name = scene[f"{names}2"] if names == "animal_name" else _another(scene, _names_of(pronoun), hero)
        scene["friend"] = f"{title.capitalize()} {name}"
        scene["friend_intro"] = f"{scene['his']} {title} {name}"
    elif helper == "peer":
        if kind in CHILDREN:
            kind2, name = ("girl" if pronoun == "she" else "boy"), _another(scene, _names_of(pronoun), hero)
            trait = scene["trait3"]
        else:
            kind2, name, trait = scene["animal2"], scene["animal_name2"], scene["friend_trait"]
        scene["friend"] = name
        scene["friend_intro"] = f"{with_article(trait)} {kind2} named {name}"
    else:
        job = wish if helper == "object" else scene["job3"]
        scene["friend"] = name = f"{'Mrs.' if pronoun == 'she' else 'Mr.'} {scene['surname']}"
        scene["friend_intro"] = f"{with_article(scene['elder_trait'])} {job} named {name}"
    _set_pronouns(scene, pronoun, "2")


def _names_of(pronoun: str) -> str:
    return "girl_name" if pronoun == "she" else "boy_name"


def _another(scene: Scene, pool: str, taken: str) -> str:
    """A name from the pool that is not the hero's."""
    return scene[f"{pool}2"] if scene.get(pool) == taken else scene[pool]


def _set_pronouns(scene: Scene, pronoun: str, suffix: str) -> None:
    for slot, form in zip(("he", "him", "his", "himself", "was"), PRONOUNS[pronoun], strict=True):
        scene[f"{slot}{suffix}"] = form
