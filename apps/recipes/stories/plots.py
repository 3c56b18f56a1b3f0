"""The plots: what can be wished for, what can go wrong, who helps and how it ends.

Each file of `plots/` is one plot. Its sections hold one alternative a line: `[wish]`, `[trouble NAME]` (or
`[trouble NAME : pool]`, where this trouble happens only to the things of that pool), `[help NAME]` against
the trouble of that name, `[tell NAME]` or `[tell]` for how the hero tells of it, and `[end]`. `[object]`
names the pool of the thing wished for and `[helper]` who may help. `[meet]`, `[thanks]` and `[closing]`
replace those of `frames.txt`; `-` is nothing.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from .lexicon import Entry, Lexicon, sections

Passage = tuple[Entry, ...]  # alternatives, one of which is told
HELPERS = ("any", "peer", "family", "object")  # object: the thing wished for is itself the helper's job


@dataclass(frozen=True, slots=True, kw_only=True)
class Trouble:
    """Something that goes wrong, told by the hero, and the help that fits it."""

    name: str
    pool: str  # the things that it can happen to
    happens: Passage
    tell: Passage
    help: Passage


@dataclass(frozen=True, slots=True, kw_only=True)
class Plot:
    """A kind of wish with its troubles."""

    name: str
    helper: str  # one of HELPERS
    wish: Passage
    troubles: tuple[Trouble, ...]
    end: Passage
    frames: Mapping[str, Passage]  # meet, thanks and closing, where the plot has its own


def load_plots(lexicon: Lexicon) -> tuple[Plot, ...]:
    """Read every plot of `plots/`, in the order of the file names.

    Args:
        lexicon: Gets the pools of the choices made inside the sentences.

    Raises:
        ValueError: If a plot lacks a section, or has one that nothing uses.
    """
    return tuple(_plot(path, lexicon) for path in sorted((Path(__file__).parent / "plots").glob("*.txt")))


def _plot(path: Path, lexicon: Lexicon) -> Plot:
    found = sections(path)

    def passage(header: str) -> Passage:
        lines = found.pop(header, None)
        if not lines:
            msg = f"{path.name} has no lines under [{header}]; add at least one"
            raise ValueError(msg)
        return tuple(lexicon.entry("" if line == "-" else line) for line in lines)

    (default_pool,) = found.pop("object", ["missing"])
    (helper,) = found.pop("helper", ["any"])
    headers = [header for header in found if header.startswith("trouble ")]
    tell = passage("tell") if "tell" in found else ()
    troubles = []
    for header in headers:
        name, _, pool = (part.strip() for part in header.removeprefix("trouble ").partition(":"))
        troubles.append(
            Trouble(
                name=name,
                pool=pool or default_pool,
                happens=passage(header),
                tell=passage(f"tell {name}") if f"tell {name}" in found or not tell else tell,
                help=passage(f"help {name}"),
            )
        )
        if troubles[-1].pool not in lexicon.pools:
            msg = f"{path.name}: the pool {troubles[-1].pool!r} is not in the lexicon"
            raise ValueError(msg)
    if helper not in HELPERS:
        msg = f"{path.name}: [helper] must be one of {', '.join(HELPERS)}, got {helper!r}"
        raise ValueError(msg)
    plot = Plot(
        name=path.stem,
        helper=helper,
        wish=passage("wish"),
        troubles=tuple(troubles),
        end=passage("end"),
        frames={name: passage(name) for name in ("meet", "thanks", "closing") if name in found},
    )
    if found:
        msg = f"{path.name}: nothing uses the sections {sorted(found)}; is a name misspelt?"
        raise ValueError(msg)
    return plot
