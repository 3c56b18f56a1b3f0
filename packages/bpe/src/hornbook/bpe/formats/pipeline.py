"""What stands around the model in a tokenizer.json: pre-tokenizer, post-processor, added tokens."""

from collections.abc import Mapping
from typing import Any

from ..patterns import CL100K_PATTERN, GPT2_PATTERN, O200K_PATTERN
from .files import check_id, check_text, show
from .oniguruma import find_shared_pattern

# As Oniguruma, the regex engine of tokenizers, understands it: there "{1,3}+" repeats the whole. "$" also
# matches before a line end there, but none follows "\s++".
_CL100K = CL100K_PATTERN.replace("{1,3}+", "{1,3}")
_REGEX = {"gpt2": GPT2_PATTERN, "cl100k": _CL100K, "o200k": O200K_PATTERN}
_NAME = {regex: name for name, regex in _REGEX.items()}

ANY = object()
"""Stands for every value: the field changes no id."""

BYTE_LEVEL = {"add_prefix_space": (ANY,), "trim_offsets": (ANY,), "use_regex": (ANY,)}


def dump_pattern(pattern: str, byte_level: Mapping[str, Any]) -> dict[str, Any]:
    """The pre-tokenizer that cuts as the pattern does.

    Raises:
        ValueError: If Oniguruma may understand the regex in another way.
    """
    if pattern == "gpt2":
        return {**byte_level, "use_regex": True}
    if pattern not in _REGEX:
        find_shared_pattern(pattern)
    cut = {"Regex": _REGEX.get(pattern, pattern)}
    return {
        "type": "Sequence",
        "pretokenizers": [
            {"type": "Split", "pattern": cut, "behavior": "Isolated", "invert": False},
            {**byte_level, "use_regex": False},
        ],
    }


def check_fields(where: str, value: object, **fields: tuple[object, ...]) -> dict[str, Any]:
    """Return `value` if it is an object with no other fields, each of which has one of the values named.

    A missing field counts as null. That is right where null stands among the values, or tokenizers refuses
    a file without the field.

    Raises:
        ValueError: If it isn't.
    """
    if not isinstance(value, dict):
        msg = f"{where} must be a JSON object, got {show(value)}"
        raise ValueError(msg)
    dot = f"{where}." if where else ""
    for key, allowed in fields.items():
        got = value.get(key)
        if ANY not in allowed and not any(type(got) is type(other) and got == other for other in allowed):
            rule = " or ".join("null" if other is None else repr(other) for other in allowed)
            msg = f"{dot}{key} must be {rule}, got {show(got)}: the ids would not be the same"
            raise ValueError(msg)
    for key in value:
        if key not in fields:
            msg = f"{dot}{show(key)[1:-1]} is not a field that can be reproduced, got {show(value[key])}"
            raise ValueError(msg)
    return value


def check_list(where: str, value: object) -> list[Any]:
    """Return `value` if it is a list.

    Raises:
        ValueError: If it isn't.
    """
    if not isinstance(value, list):
        msg = f"{where} must be a list, got {show(value)}"
        raise ValueError(msg)
    return value


def _type(value: object) -> object:
    return value.get("type") if isinstance(value, dict) else None


def read_pattern(value: object) -> str:
    """The pattern of a ByteLevel that cuts with GPT-2's regex, or of a Split before one that doesn't.

    Raises:
        ValueError: If it is anything else.
    """
    if _type(value) == "Sequence":
        where = "pre_tokenizer.pretokenizers"
        steps = check_list(
            where,
            check_fields("pre_tokenizer", value, type=("Sequence",), pretokenizers=(ANY,)).get(
                "pretokenizers"
            ),
        )
        if len(steps) == 1:
            return _read_byte_level(f"{where}[0]", steps[0])
        if len(steps) != 2:
            msg = f"{where} must be Split and ByteLevel, got {show([_type(step) for step in steps])}"
            raise ValueError(msg)
        pattern = _read_split(f"{where}[0]", steps[0])
        byte_level = {**BYTE_LEVEL, "add_prefix_space": (False,), "use_regex": (False,)}
        check_fields(f"{where}[1]", steps[1], type=("ByteLevel",), **byte_level)
        return pattern
    return _read_byte_level("pre_tokenizer", value)


def _read_byte_level(where: str, value: object) -> str:
    byte_level = {**BYTE_LEVEL, "add_prefix_space": (False,), "use_regex": (True, None)}
    check_fields(where, value, type=("ByteLevel",), **byte_level)
    return "gpt2"


def _read_split(where: str, value: object) -> str:
    fields = {"behavior": ("Isolated", "Removed"), "invert": (False, True)}
    step = check_fields(where, value, type=("Split",), pattern=(ANY,), **fields)
    regex = check_text(
        f"{where}.pattern.Regex",
        check_fields(f"{where}.pattern", step.get("pattern"), Regex=(ANY,)).get("Regex"),
    )
    if regex in _NAME:
        pattern = _NAME[regex]
    else:
        found = find_shared_pattern(regex)
        pattern = found.regex if found.name == "custom" else found.name
    # "Removed" keeps only the matches if inverted; it is the same where the regex matches every text.
    if (step["behavior"], step["invert"]) not in (("Isolated", False), ("Isolated", True)) and not (
        step["behavior"] == "Removed" and step["invert"] and pattern in _REGEX
    ):
        msg = f"{where}.behavior must be 'Isolated', got {step['behavior']!r} (invert {step['invert']})"
        raise ValueError(msg)
    return pattern


def check_post_processor(where: str, value: object, add_special_tokens: bool) -> None:
    """Let pass what changes no id.

    Raises:
        ValueError: If it is anything else; or, with `add_special_tokens`, if it adds tokens to a text.
    """
    if value is None:
        return
    if _type(value) == "Sequence":
        steps = check_fields(where, value, type=("Sequence",), processors=(ANY,)).get("processors")
        for index, step in enumerate(check_list(f"{where}.processors", steps)):
            # Not recursive: tokenizers never writes a sequence in a sequence.
            if _type(step) == "Sequence":
                msg = f"{where}.processors[{index}] must be ByteLevel or TemplateProcessing, got {show(step)}"
                raise ValueError(msg)
            check_post_processor(f"{where}.processors[{index}]", step, add_special_tokens)
    elif _type(value) == "TemplateProcessing":
        fields = {"single": (ANY,), "pair": (ANY,), "special_tokens": (ANY,)}
        steps = check_list(
            f"{where}.single",
            check_fields(where, value, type=("TemplateProcessing",), **fields).get("single"),
        )
        added = [step for step in steps if isinstance(step, dict) and "SpecialToken" in step]
        if add_special_tokens and added:
            msg = (
                f"{where} adds tokens to each text, {show(added)}; pass add_special_tokens=False for the ids"
                " without them"
            )
            raise ValueError(msg)
        texts = [step for step in steps if step not in added]
        if len(texts) != 1 or not isinstance(texts[0], dict) or set(texts[0]) != {"Sequence"}:
            msg = f"{where}.single must hold one sequence, the text, got {show(steps)}"
            raise ValueError(msg)
    else:
        check_fields(where, value, type=("ByteLevel",), **BYTE_LEVEL)  # it only moves offsets


def read_added_tokens(value: object) -> dict[str, int]:
    """The added tokens and the ids that the file claims for them.

    Raises:
        ValueError: If one is found by other rules than special tokens are here.
    """
    ids: dict[str, int] = {}
    groups: dict[bool, list[str]] = {False: [], True: []}
    for index, item in enumerate(check_list("added_tokens", value)):
        where = f"added_tokens[{index}]"
        plain = {"single_word": (False,), "lstrip": (False,), "rstrip": (False,)}
        flags = {"normalized": (False, True), "special": (False, True)}
        token = check_fields(where, item, id=(ANY,), content=(ANY,), **plain, **flags)
        text = check_text(f"{where}.content", token.get("content"))
        if text in ids:
            msg = f"{where}: {show(text)} is added twice"
            raise ValueError(msg)
        ids[text] = check_id(text, token.get("id"))
        groups[token["normalized"]].append(text)
    # tokenizers looks for those that aren't normalized first, here for the longest of all.
    _check_apart(groups[False], groups[True])
    return ids


def _check_apart(first: list[str], second: list[str]) -> None:
    """Refuse two groups of tokens if one of each could overlap in a text."""
    if not first or not second:
        return
    if len(first) * len(second) * max(map(len, first + second)) ** 2 > 10**9:
        msg = "added_tokens: too many are normalized and too many are not to tell whether they overlap"
        raise ValueError(msg)
    for one in first:
        for other in second:
            shorter = range(1, min(len(one), len(other)) + 1)
            if (
                one in other
                or other in one
                or any(one.endswith(other[:size]) or other.endswith(one[:size]) for size in shorter)
            ):
                msg = (
                    f"added_tokens: {show(one)} and {show(other)} can overlap, and only one is normalized;"
                    " then tokenizers does not look for the longest"
                )
                raise ValueError(msg)
