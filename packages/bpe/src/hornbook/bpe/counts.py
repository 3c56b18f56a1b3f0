"""Counts of pretokens as a value: they can be added, compared, saved and loaded."""

import json
import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from . import engine
from .arguments import check_count, check_file, check_path
from .aside import AsideFile, sync_directory
from .engine import PackedCounts
from .patterns import find_pattern
from .special import SpecialTokens, check_special_tokens

_FORMAT = {"format": "hornbook.bpe counts", "format_version": 1}
_MAX_HEADER_BYTES = 1 << 24
_MAX_TOTAL = 2**63 - 1
_ARRAYS = (("ends", "<i8"), ("counts", "<i8"), ("data", "<u1"))


@dataclass(frozen=True, eq=False, repr=False)
class PretokenCounts:
    """How often each pretoken occurs in a text; `count_pretokens` makes it.

    Counts of parts add up to the counts of the whole, whatever the parts and their order, and equal counts
    are saved as equal files.

    Attributes:
        pattern: What cut the text into pretokens: a name or a regex.
        special_tokens: What was cut out before, in the order of their ids.
        data: All pretokens one after another, in ascending order.
        ends: Where each ends in `data`.
        counts: How often each occurs.
        num_bytes: Bytes of text that were counted, special tokens among them.

    Example:
        >>> from hornbook.bpe import count_pretokens
        >>> one, two = (count_pretokens(iter([text]), ["<e>"]) for text in ("a b<e>", "a a"))
        >>> one + two
        PretokenCounts(3 different pretokens, 9 bytes of text, pattern='gpt2', special_tokens=['<e>'])
        >>> list((one + two).items())
        [(b' a', 1), (b' b', 1), (b'a', 2)]
    """

    pattern: str
    special_tokens: list[str]
    data: NDArray[np.uint8]
    ends: NDArray[np.int64]
    counts: NDArray[np.int64]
    num_bytes: int

    def __post_init__(self) -> None:
        for name, kind in (("data", np.uint8), ("ends", np.int64), ("counts", np.int64)):
            array = getattr(self, name)
            if not isinstance(array, np.ndarray) or array.dtype != kind or array.ndim != 1:
                msg = f"{name} must be an array of {kind.__name__} in one dimension, got {array!r:.80}"
                raise TypeError(msg)
            own = np.ascontiguousarray(array).view()
            own.flags.writeable = False
            object.__setattr__(self, name, own)
        find_pattern(self.pattern)
        object.__setattr__(self, "special_tokens", check_special_tokens(self.special_tokens))
        object.__setattr__(self, "num_bytes", check_count("num_bytes", self.num_bytes, 0))
        _check_arrays(self.data, self.ends, self.counts)

    @classmethod
    def from_packed(
        cls, pattern: str, special_tokens: list[str], parts: Iterable[PackedCounts], num_bytes: int
    ) -> Self:
        """Counts from pretokens in any order; equal ones are added up."""
        specials = SpecialTokens(dict.fromkeys(special_tokens, 0))
        counter = engine.new_counter(find_pattern(pattern), specials)
        for part in parts:
            counter.add_counts(part)
        counter.sort()
        return cls.from_sorted(pattern, special_tokens, counter.sorted_result([]), num_bytes)

    @classmethod
    def from_sorted(
        cls, pattern: str, special_tokens: list[str], packed: PackedCounts, num_bytes: int
    ) -> Self:
        """Counts as a counter sorted them: what is sound already isn't checked again."""
        for array in packed:
            array.flags.writeable = False
        fields = {"pattern": pattern, "special_tokens": list(special_tokens), "num_bytes": num_bytes}
        counts = object.__new__(cls)
        for name, value in (fields | packed._asdict()).items():
            object.__setattr__(counts, name, value)
        return counts

    @property
    def packed(self) -> PackedCounts:
        """The three arrays."""
        return PackedCounts(self.data, self.ends, self.counts)

    def __len__(self) -> int:
        """How many different pretokens there are."""
        return len(self.ends)

    def items(self) -> Iterator[tuple[bytes, int]]:
        """Each pretoken with its count, in ascending order of the pretokens."""
        begin = 0
        for end, count in zip(self.ends, self.counts, strict=True):
            yield self.data[begin:end].tobytes(), int(count)
            begin = end

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, PretokenCounts):
            return NotImplemented
        same_arrays = (
            np.array_equal(self.data, other.data)
            and np.array_equal(self.ends, other.ends)
            and np.array_equal(self.counts, other.counts)
        )
        return same_arrays and self._settings() == other._settings()

    __hash__ = None  # type: ignore[assignment]

    def __add__(self, other: "PretokenCounts") -> "PretokenCounts":
        if not isinstance(other, PretokenCounts):
            return NotImplemented
        for name in ("pattern", "special_tokens"):
            mine, others = getattr(self, name), getattr(other, name)
            if mine != others:
                msg = f"counts with {name} {mine!r} and {others!r} do not add up; count both alike"
                raise ValueError(msg)
        totals = [_total(counts.counts) for counts in (self, other)]
        if sum(totals) > _MAX_TOTAL:
            msg = f"counts of {totals[0]} and {totals[1]} pretokens add up to more than 64 bits hold"
            raise OverflowError(msg)
        parts = (self.packed, other.packed)
        return self.from_packed(self.pattern, self.special_tokens, parts, self.num_bytes + other.num_bytes)

    def __radd__(self, other: object) -> "PretokenCounts":
        # `sum` begins with 0.
        return self if isinstance(other, int) and other == 0 else NotImplemented

    def __repr__(self) -> str:
        return (
            f"PretokenCounts({len(self)} different pretokens, {self.num_bytes} bytes of text, "
            f"pattern={self.pattern!r}, special_tokens={self.special_tokens})"
        )

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the counts to a file, whole or not at all; equal counts make equal files.

        The file is a line of JSON (format, pattern, special tokens, sizes, SHA-256 of it all) and then
        `ends` and `counts` as int64 and `data`, little-endian.

        Raises:
            OSError: If it cannot be written.
        """
        arrays = [getattr(self, name).astype(dtype, copy=False) for name, dtype in _ARRAYS]
        header = {**_FORMAT, **self._settings(), "num_pretokens": len(self), "data_bytes": len(self.data)}
        header["sha256"] = _digest(header, arrays)
        with AsideFile(check_path(path)) as file:
            file.write(json.dumps(header).encode() + b"\n")
            for array in arrays:
                file.write(array.data)
            file.sync()
            file.publish()
            sync_directory(file.path.parent)

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> Self:
        """Read counts that `save` wrote.

        Raises:
            FileNotFoundError: If there is no such file.
            ValueError: If it is no such file, comes from a later version, or was damaged since.
        """
        file = check_file(path)
        try:
            return cls._parse(file)
        except ValueError as error:
            msg = f"{file} holds no counts of pretokens: {error}"
            raise ValueError(msg) from None

    @classmethod
    def _parse(cls, path: Path) -> Self:
        with path.open("rb") as file:
            header = _parse_header(file.readline(_MAX_HEADER_BYTES))
            lengths = [header["num_pretokens"], header["num_pretokens"], header["data_bytes"]]
            itemsizes = [np.dtype(dtype).itemsize for _, dtype in _ARRAYS]
            expected = file.tell() + sum(n * size for n, size in zip(lengths, itemsizes, strict=True))
            # Before any memory is asked for: the header may say anything.
            if (size := path.stat().st_size) != expected:
                msg = f"it should have {expected} bytes and has {size}"
                raise ValueError(msg)
            arrays: list[NDArray[Any]] = [
                np.fromfile(file, dtype, length) for (_, dtype), length in zip(_ARRAYS, lengths, strict=True)
            ]
        if _digest({key: header[key] for key in header if key != "sha256"}, arrays) != header["sha256"]:
            msg = "its SHA-256 has changed; it was damaged or edited"
            raise ValueError(msg)
        ends, counts, data = arrays
        return cls(
            header["pattern"],
            header["special_tokens"],
            data,
            ends.astype(np.int64, copy=False),
            counts.astype(np.int64, copy=False),
            header["num_bytes"],
        )

    def _settings(self) -> dict[str, Any]:
        return {
            "pattern": self.pattern,
            "regex": find_pattern(self.pattern).regex,
            "special_tokens": self.special_tokens,
            "num_bytes": self.num_bytes,
        }


def _digest(header: dict[str, Any], arrays: list[NDArray[Any]]) -> str:
    import hashlib  # here, because loading OpenSSL takes a tenth of what importing this package may

    digest = hashlib.sha256(json.dumps(header).encode())
    for array in arrays:
        digest.update(array.data)
    return digest.hexdigest()


def _parse_header(line: bytes) -> dict[str, Any]:
    """The header, each field of the right type and value.

    Raises:
        ValueError: If it is not.
    """
    try:
        header = json.loads(line)
    except (ValueError, RecursionError):
        header = None
    if not isinstance(header, dict) or header.get("format") != _FORMAT["format"]:
        msg = f"it does not begin with a line of JSON with format {_FORMAT['format']!r}"
        raise ValueError(msg)
    if header.get("format_version") != _FORMAT["format_version"]:
        versions = f"{header.get('format_version')!r}, this program reads {_FORMAT['format_version']}"
        msg = f"its format_version is {versions}"
        raise ValueError(msg)
    fields = ("special_tokens", "pattern", "regex", "num_pretokens", "data_bytes", "num_bytes", "sha256")
    for name in fields:
        if name not in header:
            msg = f"{name} is missing from its first line"
            raise ValueError(msg)
    for name in ("num_pretokens", "data_bytes", "num_bytes"):
        value = header[name]
        if type(value) is not int or value < 0:
            msg = f"{name} must be a whole number, got {value!r}"
            raise ValueError(msg)
    try:
        check_special_tokens(header["special_tokens"])
        pattern = find_pattern(header["pattern"])
    except TypeError as error:
        raise ValueError(error) from None
    if header["regex"] != pattern.regex:
        msg = f"pattern {header['pattern']!r} was {header['regex']!r} and is {pattern.regex!r}"
        raise ValueError(msg)
    return header


def _total(counts: NDArray[np.int64]) -> int:
    """The exact sum of positive counts: in 64 bits alone it would wrap around."""
    low = int((counts & 0xFFFFFFFF).sum())
    return (int((counts >> 32).sum()) << 32) + low


def _check_arrays(data: NDArray[np.uint8], ends: NDArray[np.int64], counts: NDArray[np.int64]) -> None:
    """Refuse arrays that `save` would not have written.

    Raises:
        ValueError: Says which rule they break.
    """
    if (len(ends) and ends[-1] != len(data)) or (not len(ends) and len(data)):
        msg = f"its pretokens end at {ends[-1] if len(ends) else 0} and its data at {len(data)}"
    elif (np.diff(ends, prepend=0) <= 0).any():
        msg = f"pretoken {int(np.argmax(np.diff(ends, prepend=0) <= 0))} ends before it begins or is empty"
    elif (counts <= 0).any():
        index = int(np.argmax(counts <= 0))
        msg = f"the count of pretoken {index} must be at least 1, got {counts[index]}"
    elif _total(counts) > _MAX_TOTAL:
        msg = "its counts do not add up within 64 bits"
    elif not engine.is_ascending(data, ends):
        msg = "its pretokens are not in ascending order or not different"
    else:
        return
    raise ValueError(msg)
