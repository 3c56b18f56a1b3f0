"""The generated sample: sensible English, many words, splits that share nothing, the same bytes anywhere."""

import gzip
import hashlib
import os
import re
import subprocess
import sys
from collections import Counter
from functools import cache
from pathlib import Path
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from recipes import stories
from recipes.stories import END_OF_TEXT, Combination, Split, combination, story, write_stories
from recipes.stories.cast import CHILDREN, cast
from recipes.stories.lexicon import Entry, load_lexicon, sections
from recipes.stories.plots import Plot, load_plots
from recipes.stories.scene import Scene, with_article

APPS = Path(__file__).parents[1]
PACKAGE = Path(stories.__file__).parent
LEXICON = load_lexicon()
PLOTS = load_plots(LEXICON)
VOCABULARY = {entry.text for pool in LEXICON.pools.values() for entry in pool}


@cache
def drawn(split: Split, num_stories: int, seed: int = 0) -> tuple[str, ...]:
    return tuple(story(seed, index, split) for index in range(num_stories))


def passages(plot: Plot) -> list[Entry]:
    told = [*plot.wish, *plot.end, *(entry for frame in plot.frames.values() for entry in frame)]
    for trouble in plot.troubles:
        told += [*trouble.happens, *trouble.tell, *trouble.help]
    return told


def sentence_files() -> list[Path]:
    return [PACKAGE / "frames.txt", *sorted((PACKAGE / "plots").glob("*.txt"))]


# What the text is like


def test_twenty_thousand_stories_are_all_different() -> None:
    assert len(set(drawn("train", 20_000))) == 20_000


def test_there_are_far_more_than_200_000_stories() -> None:
    # Who wants what and what goes wrong, all of which the text names, before any sentence is varied.
    kinds = len(CHILDREN) + len({entry.text for entry in LEXICON.pools["animal"]})
    wishes_and_troubles = sum(
        len({entry.text for entry in LEXICON.pools[trouble.pool]})
        for plot in PLOTS
        for trouble in plot.troubles
    )
    names = min(len(LEXICON.pools[pool]) for pool in ("girl_name", "boy_name", "animal_name", "child_name"))
    assert kinds * wishes_and_troubles > 200_000
    assert kinds * wishes_and_troubles * names > 5_000_000


def test_a_small_sample_has_more_than_3000_words() -> None:
    words = Counter(re.findall(r"[a-z']+", " ".join(drawn("train", 20_000)[:6_000]).lower()))
    assert len(words) > 3_500
    assert sum(count >= 5 for count in words.values()) > 3_000  # not one-off curiosities


def test_the_text_is_as_hard_to_compress_as_simple_stories_are() -> None:
    text = "\n".join(drawn("train", 20_000)[:6_000]).encode("ascii")
    assert 3.0 < len(text) / len(gzip.compress(text, 9)) < 4.5


def test_stories_are_of_a_page_and_have_paragraphs() -> None:
    for told in drawn("train", 20_000)[:6_000]:
        assert 400 <= len(told) <= 1_300
        assert len(told.split("\n\n")) >= 3


def test_the_package_is_small_and_its_files_short() -> None:
    files = [path for path in PACKAGE.rglob("*") if path.suffix in (".py", ".txt")]
    assert sum(path.stat().st_size for path in files) < 200_000
    assert all(len(path.read_text().splitlines()) <= 400 for path in files)


# What a proof-reader would check


@pytest.mark.parametrize("split", ["train", "valid"])
def test_the_text_is_clean(split: Split) -> None:
    for told in drawn(split, 3_000):
        assert re.fullmatch(r"[ -~\n]+", told)
        assert not re.search(r"[{}|_()<>~+@=]|  | \n|\n |\n\n\n|\.\.|!\.|\?\.| [.,!?]|,\.|,,", told), told
        for paragraph in told.split("\n\n"):
            assert paragraph.count('"') % 2 == 0, paragraph
            assert paragraph.endswith((".", "!", "?", '"')), paragraph
            assert paragraph[0].isupper() or paragraph[0] == '"', paragraph
        assert not re.search(r'[.!?]"? [a-z]', re.sub(r'[!?]" [a-z]|Mrs?\. ', "", told)), told
        assert not re.search(r"\b(?!had had)(\w+) \1\b", told.replace("again and again", "")), told


def test_a_and_an_follow_the_sound() -> None:
    text = " ".join(drawn("train", 20_000)[:6_000])
    wrong_a = set(re.findall(r"\b[Aa] ((?:[aeiou]|hour|honest|heir)[\w-]*)", text))
    wrong_an = set(re.findall(r"\b[Aa]n ([^aeiou\W][\w-]*)", text))
    assert {word for word in wrong_a if not re.match("uni[cfqv]|uku|use|one|eu", word)} == set()
    assert wrong_an <= {"hour", "hourglass", "honest"}


def test_verbs_agree_with_plurals() -> None:
    attributes = (
        one
        for pool in LEXICON.pools.values()
        for entry in pool
        for _, many in entry.attributes
        for one in many
    )
    entries = {*attributes, *(entry for pool in LEXICON.pools.values() for entry in pool)}
    one = {entry.text for entry in entries if not entry.mark}  # a starfish, some starfish
    plurals = "|".join(sorted({re.escape(entry.text) for entry in entries if entry.mark == "+"} - one))
    text = "\n".join(drawn("train", 20_000)[:6_000])
    wrong = (
        rf"\b[Tt]here (?:was|is) (?:no more |no )?(?:{plurals})\b.*|\b[Tt]he (?:{plurals}) (?:was|is|has)\b.*"
    )
    assert re.findall(wrong, text) == []


@pytest.mark.parametrize("path", sentence_files(), ids=lambda path: path.stem)
def test_no_sentence_fixes_a_pronoun_of_the_hero(path: Path) -> None:
    lines = [line for group in sections(path).values() for line in group]
    assert [
        line for line in lines if re.search(r"\b(he|she|him|his|her|hers|himself|herself)\b(?![}2])", line)
    ] == []


@pytest.mark.parametrize("path", sentence_files(), ids=lambda path: path.stem)
def test_no_sentence_fixes_an_article_before_a_drawn_noun(path: Path) -> None:
    assert re.findall(r"\b[Aa]n? \{(?!_)\w+\}", path.read_text()) == []


@pytest.mark.parametrize("plot", PLOTS, ids=lambda plot: plot.name)
def test_every_sentence_of_a_plot_can_be_told_and_agrees(plot: Plot) -> None:
    rng = Random(3)
    for trouble in plot.troubles:
        for kind, pronouns in (("girl", {"he", "him", "his"}), ("boy", {"she", "her"})):
            for entry in [*plot.wish, *trouble.happens, *plot.end]:
                for _ in range(5):
                    scene = Scene(rng, LEXICON.pools)
                    scene.set("object", wish := scene.pick(LEXICON.pools[trouble.pool]))
                    cast(scene, kind, plot, wish.text)
                    for slot in ("he2", "him2", "his2"):
                        scene[slot] = scene[slot[:-1]]
                    scene["friend"], scene["friend_intro"] = "Sam", f"{scene['his']} pal Sam"
                    scene["relative"], scene["relative_he"] = "parent", scene["he"]
                    scene.tell(scene.pick(plot.wish))  # says what the trouble then happens to
                    told = scene.tell(entry)
                    assert "{" not in told
                    # With everyone of one gender, the other one's pronouns have no place.
                    assert not pronouns & set(re.findall(r"\w+", told.lower())), told
    for entry in passages(plot):
        scene = Scene(rng, LEXICON.pools)
        trouble = next(
            (t for t in plot.troubles if entry in (*t.happens, *t.tell, *t.help)), plot.troubles[0]
        )
        scene.set("object", wish := scene.pick(LEXICON.pools[trouble.pool]))
        cast(scene, "child", plot, wish.text)
        before = scene.tell(plot.wish[0]) + scene.tell(trouble.happens[0]) + scene.tell(trouble.tell[0])
        assert "{" not in before + scene.tell(entry)


def test_hero_and_helper_never_share_a_name() -> None:
    pools = [LEXICON.pools[f"{who}_name"] for who in ("girl", "boy", "child", "animal")]
    names = [entry.text for pool in pools for entry in pool]
    assert sorted(names) == sorted(set(names))
    assert [name for name in names if name.endswith("s")] == []  # the possessive is always 's


def test_hero_and_wish_are_named_in_every_story() -> None:
    for index, told in enumerate(drawn("train", 20_000)[:6_000]):
        about = combination(0, index, "train")
        assert about.kind in told.split("\n\n")[0]
        thing = about.wish.split(" ", 1)[1]
        if "{" not in thing:
            assert thing in told.lower() or thing in told


@given(st.sampled_from(sorted(word for word in VOCABULARY if word.isalpha())))
def test_an_article_is_one_of_two(word: str) -> None:
    assert with_article(word) in (f"a {word}", f"an {word}")


def test_articles_by_hand() -> None:
    nouns = [
        "owl",
        "unicorn",
        "ukulele",
        "hourglass",
        "honest elf",
        "uncle",
        "umbrella",
        "one-eyed cat",
        "useful map",
    ]
    assert [with_article(noun).split()[0] for noun in nouns] == [
        "an",
        "a",
        "a",
        "an",
        "an",
        "an",
        "an",
        "a",
        "a",
    ]


# Splits


def test_train_and_validation_share_no_story_whatever_the_seeds() -> None:
    held_out = {combination(seed, index, "valid") for seed in range(3) for index in range(1_000)}
    trained_on = {combination(seed, index, "train") for seed in range(10, 13) for index in range(1_000)}
    assert not held_out & trained_on
    assert set(drawn("train", 20_000)).isdisjoint(drawn("valid", 3_000, seed=5))


def test_a_combination_alone_decides_its_split() -> None:
    about = combination(4, 2, "valid")
    assert Combination(about.kind, about.wish, about.trouble).split == "valid"
    kinds, troubles = [e.text for e in LEXICON.pools["animal"]], ["gone", "wind", "magpie", "bag"]
    sides = Counter(Combination(kind, "lost kite", trouble).split for kind in kinds for trouble in troubles)
    assert 0.05 < sides["valid"] / sides.total() < 0.15


def test_no_long_validation_paragraph_was_trained_on() -> None:
    trained_on = {part for told in drawn("train", 20_000) for part in told.split("\n\n")}
    held_out = [part for told in drawn("valid", 3_000) for part in told.split("\n\n") if len(part) > 200]
    shared = sum(part in trained_on for part in held_out)
    assert shared <= len(held_out) // 1_000


# Purity


def test_the_same_seed_tells_the_same_stories_on_every_machine() -> None:
    code = "import hashlib, recipes.stories as s; print(hashlib.sha256(''.join("
    code += "s.story(7, i, w) for i in range(200) for w in ('train', 'valid')).encode()).hexdigest())"
    told = "".join(story(7, index, split) for index in range(200) for split in ("train", "valid"))
    expected = hashlib.sha256(told.encode()).hexdigest()
    for hash_seed in ("0", "1"):
        environment = {**os.environ, "PYTHONPATH": str(APPS), "PYTHONHASHSEED": hash_seed}
        run = subprocess.run(
            [sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True
        )
        assert run.stdout.strip() == expected


def test_seed_index_and_split_each_matter() -> None:
    told = [
        story(0, 0, "train"),
        story(-1, 0, "train"),
        story(1, 0, "train"),
        story(0, 1, "train"),
        story(0, 0, "valid"),
    ]
    assert len(set(told)) == 5
    assert story(0, 0, "train") == told[0]  # whatever was told in between


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ((0.5, 0, "train"), TypeError, "seed must be an integer, got 0.5"),
        ((0, True, "train"), TypeError, "index must be an integer, got True"),
        ((0, -1, "train"), ValueError, "index must be 0 or more, got -1"),
        ((0, 0, "test"), ValueError, 'split must be "train" or "valid", got \'test\''),
    ],
)
def test_wrong_arguments_are_refused(
    arguments: tuple[int, int, Split], error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=re.escape(message)):
        story(*arguments)


# Files


def test_a_file_holds_whole_stories_each_closed_by_its_line(tmp_path: Path) -> None:
    path, seen = tmp_path / "new" / "train.txt", list[tuple[int, int]]()
    write_stories(
        path, num_bytes=500_000, seed=3, split="train", progress=lambda done, of: seen.append((done, of))
    )
    text = path.read_bytes().decode("ascii")
    told = text.split(f"\n{END_OF_TEXT}\n")
    assert told.pop() == ""
    assert told == [story(3, index, "train") for index in range(len(told))]
    assert 500_000 <= len(text) < 500_000 + len(told[-1]) + 20
    assert seen[-1] == (len(text), 500_000)
    assert len(seen) > 1
    assert [file.name for file in path.parent.iterdir()] == ["train.txt"]


@pytest.mark.parametrize(
    ("num_bytes", "error"), [(0, ValueError), (-5, ValueError), (1e6, TypeError), (True, TypeError)]
)
def test_a_size_that_is_no_size_is_refused(tmp_path: Path, num_bytes: int, error: type[Exception]) -> None:
    with pytest.raises(error, match=rf"num_bytes must be .*, got {num_bytes}"):
        write_stories(tmp_path / "x.txt", num_bytes=num_bytes, seed=0, split="train")
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_is_a_file_is_named(tmp_path: Path) -> None:
    (tmp_path / "data").write_text("a file")
    with pytest.raises(FileExistsError, match="data"):
        write_stories(tmp_path / "data" / "train.txt", num_bytes=2_000, seed=0, split="train")
    assert [path.name for path in tmp_path.iterdir()] == ["data"]


def test_a_full_disk_leaves_nothing_behind_and_the_old_file_whole(tmp_path: Path) -> None:
    path = tmp_path / "train.txt"
    path.write_text("old")
    # A limit on the size of files stands in for the end of the disk: the write itself fails.
    code = (
        "import resource, signal, sys; from pathlib import Path; from recipes.stories import write_stories\n"
        "signal.signal(signal.SIGXFSZ, signal.SIG_IGN)\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (300_000, 300_000))\n"
        "write_stories(Path(sys.argv[1]), num_bytes=1_000_000, seed=0, split='train')\n"
    )
    environment = {**os.environ, "PYTHONPATH": str(APPS), "PYTHONDONTWRITEBYTECODE": "1"}
    command = [sys.executable, "-c", code, str(path)]
    run = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert run.returncode != 0
    assert f"no room to write {path} (1,000,000 bytes needed)" in run.stderr
    assert [file.name for file in tmp_path.iterdir()] == ["train.txt"]
    assert path.read_text() == "old"


def test_an_interrupt_leaves_nothing_behind(tmp_path: Path) -> None:
    def interrupt(done: int, of: int) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write_stories(tmp_path / "x.txt", num_bytes=900_000, seed=0, split="train", progress=interrupt)
    assert list(tmp_path.iterdir()) == []
