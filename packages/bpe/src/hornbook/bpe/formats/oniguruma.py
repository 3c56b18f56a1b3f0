"""Which regexes Oniguruma, the engine of the package tokenizers, understands as the package `regex` does.

The two differ in places that no error shows: in Oniguruma "x{1,3}+" repeats "x{1,3}", "$" also matches
before any line end, "[a[bc]]" and "&&" in a set are operators, (?i:ss) matches "ß". So a regex is taken only
if it is made of what is known to be the same.
"""

import re

from ..patterns import Pattern, find_pattern

_ESCAPE = r"\\(?:[rntfvsSdD]|[pP]\{\^?[A-Za-z_]+\}|[^\w\s])"
_SET = rf"\[\^?(?:{_ESCAPE}|(?!--|&&|\|\||~~)[^\\\[\]])+\]"
_CASELESS = r"\(\?i:(?:'s\|'t\|'re\|'ve\|'m\|'ll\|'d|\[sdmt\]\|ll\|ve\|re)\)"
_LOOK = r"\(\?<?[=!]"
_ATOM = rf"{_CASELESS}|{_LOOK}|\(\?[:>]|\((?!\?)|[)|]|{_SET}|{_ESCAPE}|[^\\\[\](){{}}|^$?*+]"
_QUANTIFIER = r"(?:[?*+][?+]?|\{[0-9]{1,4}(?:,[0-9]{0,4})?\})(?![?*+{])"
_SAME = re.compile(rf"(?:(?:{_ATOM})(?:{_QUANTIFIER})?)*+")  # possessive: refuses a long regex in linear time
_LOOKS = re.compile(rf"({_SET}|\\.)|{_LOOK}", re.DOTALL)


def find_shared_pattern(pattern: str) -> Pattern:
    r"""The pattern, if both engines cut every text alike by it.

    Raises:
        ValueError: If it is no regex, or holds anything that is not known to be the same.

    Example:
        >>> find_shared_pattern(r"\p{N}{1,3}|\w+$")
        Traceback (most recent call last):
        ValueError: regex and Oniguruma may differ in '\\w+$' of the pattern '\\p{N}{1,3}|\\w+$'
    """
    found = find_pattern(pattern)
    if found.regex != pattern:
        msg = f"the regex {pattern!r} is the name of another one here; write it as '(?:{pattern})'"
        raise ValueError(msg)
    match = _SAME.match(pattern)
    end = match.end() if match else 0
    if end < len(pattern):
        msg = (
            f"regex and Oniguruma may differ in {pattern[end : end + 20]!r} of the pattern {pattern[:400]!r}"
        )
        raise ValueError(msg)
    # The engines go on in different ways after a match of nothing. To find whether there could be one in any
    # surroundings, let every look ahead and behind succeed.
    import regex  # type: ignore[import-untyped]

    if regex.match(_LOOKS.sub(lambda look: look[1] or "(?=|", pattern), ""):
        msg = f"regex and Oniguruma go on differently after a match of nothing, as {pattern[:400]!r} can make"
        raise ValueError(msg)
    return found
