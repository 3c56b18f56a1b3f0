"""The word lists: text files with one pool of words a section.

A file holds sections, each headed by `[name]`. In `lexicon/` the entries of a section are separated by
commas; in a section headed `[name : attribute; attribute]` every line is one entry with its attributes, as
in `pancakes = flour | milk`. In the sentence files every line is one entry. A mark before an entry says how
it is counted: none for one thing (a kite, it), `+` for several (some apples, them), `~` for a mass (some
soup, it). `@name` includes another pool. `(a|b)` anywhere in an entry is a choice made when the entry is
used. Some words of a pool are drawn often and most seldom, whatever their place in the list.
"""

import re
from dataclasses import dataclass, field
from hashlib import blake2b
from pathlib import Path

_CHOICE = re.compile(r"\(([^()]*\|[^()]*)\)")
_ROOT = Path(__file__).parent


@dataclass(frozen=True, slots=True)
class Entry:
    """One word, phrase or sentence of a pool."""

    text: str  # a format string: {slots} are filled when a story is told
    mark: str = ""  # "" for one thing, "+" for several, "~" for a mass
    attributes: tuple[tuple[str, tuple["Entry", ...]], ...] = ()


@dataclass(slots=True)
class Lexicon:
    """All pools by name, those of on-the-spot choices included."""

    pools: dict[str, tuple[Entry, ...]] = field(default_factory=dict)

    def entry(self, source: str, attributes: tuple[tuple[str, tuple[Entry, ...]], ...] = ()) -> Entry:
        """Turn the source of an entry into an `Entry`; its choices become pools of their own.

        Args:
            source: The entry as it stands in the file.
            attributes: What belongs to it, by name.

        Example:
            >>> lexicon = Lexicon()
            >>> lexicon.entry("+red (apples|plums)")
            Entry(text='red {_0}', mark='+', attributes=())
            >>> [choice.text for choice in lexicon.pools["_0"]]
            ['apples', 'plums']
        """
        mark = source[0] if source[:1] in ("+", "~") else ""

        def name_choice(found: re.Match[str]) -> str:
            name = f"_{len(self.pools)}"
            self.pools[name] = tuple(Entry(text) for text in found[1].split("|"))
            return f"{{{name}}}"

        return Entry(_CHOICE.sub(name_choice, source[len(mark) :]), mark, attributes)


def sections(path: Path) -> dict[str, list[str]]:
    """Read a file's sections: header to lines, comments and blank lines left out.

    Args:
        path: A text file of this package.

    Raises:
        ValueError: If a line comes before the first header, or a header comes twice.
    """
    found: dict[str, list[str]] = {}
    lines: list[str] | None = None
    for number, raw in enumerate(path.read_text(encoding="ascii").splitlines(), start=1):
        line = raw.strip()
        if not line or line.startswith("#"):
            continue
        if line.startswith("[") and line.endswith("]"):
            lines = found.setdefault(line[1:-1].strip(), [])
            if lines:
                msg = f"{path.name}, line {number}: the section {line} comes twice; put its entries together"
                raise ValueError(msg)
        elif lines is None:
            msg = f"{path.name}, line {number}: expected a [section] before {line!r}"
            raise ValueError(msg)
        else:
            lines.append(line)
    return found


def load_lexicon() -> Lexicon:
    """Read every pool of `lexicon/` and of `frames.txt`.

    Raises:
        ValueError: If two files define one pool, or a pool includes one that does not come before it.
    """
    lexicon = Lexicon()
    for path in sorted((_ROOT / "lexicon").glob("*.txt")):
        for header, lines in sections(path).items():
            name, _, attribute_names = (part.strip() for part in header.partition(":"))
            if name in lexicon.pools:
                msg = f"{path.name}: the pool [{name}] is defined twice; put its entries together"
                raise ValueError(msg)
            if attribute_names:
                names = [part.strip() for part in attribute_names.split(";")]
                sources = lines
            else:
                names = []
                sources = [word for part in ",".join(lines).split(",") if (word := part.strip())]
            entries = [entry for source in sources for entry in _entries(lexicon, source, names)]
            lexicon.pools[name] = tuple(sorted(entries, key=_rank))
    for header, lines in sections(_ROOT / "frames.txt").items():
        lexicon.pools[header] = tuple(lexicon.entry(line) for line in lines)
    return lexicon


def _rank(entry: Entry) -> bytes:
    """An order that has nothing to do with the alphabet: the first of a pool are drawn most often."""
    return blake2b(entry.text.encode("ascii"), digest_size=8).digest()


def _entries(lexicon: Lexicon, source: str, names: list[str]) -> tuple[Entry, ...]:
    """The entry that a source stands for, or all entries of the pool that it includes."""
    if source.startswith("@"):
        if source[1:] not in lexicon.pools:
            msg = f"{source} includes a pool that does not exist or comes later; put [{source[1:]}] before it"
            raise ValueError(msg)
        return lexicon.pools[source[1:]]
    if not names:
        return (lexicon.entry(source),)
    text, _, rest = (part.strip() for part in source.partition("="))
    values = [part.strip() for part in rest.split(";")]
    if len(values) != len(names) or not all(values):
        msg = f"expected `{text} = ` and {len(names)} attributes ({'; '.join(names)}), got {source!r}"
        raise ValueError(msg)
    alternatives = (tuple(lexicon.entry(one.strip()) for one in value.split("|")) for value in values)
    return (lexicon.entry(text, tuple(zip(names, alternatives, strict=True))),)
