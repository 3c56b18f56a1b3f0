from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hornbook.nn import StopStrings

letters = st.text("abé", max_size=12)
stops = st.lists(st.text("abé", min_size=1, max_size=4), max_size=3)


def one_character_at_a_time(text: str, stop_strings: Sequence[str]) -> tuple[str, bool]:
    """The definition: text to the first character that completes a stop string, without the longest."""
    for end in range(1, len(text) + 1):
        complete = [string for string in stop_strings if text[:end].endswith(string)]
        if complete:
            return text[: end - max(map(len, complete))], True
    return text, False


def could_stop(text: str, stop_strings: Sequence[str]) -> bool:
    """Whether an end of the text is the beginning of a stop string."""
    return any(text.endswith(string[:n]) for string in stop_strings for n in range(1, len(string)))


@given(st.lists(letters, max_size=6), stops)
def test_the_cuts_of_the_text_make_no_difference(pieces: list[str], stop_strings: list[str]) -> None:
    text = StopStrings(stop_strings)
    shown = "".join([text.push(piece) for piece in pieces]) + text.finish()
    assert (shown, text.stopped) == one_character_at_a_time("".join(pieces), stop_strings)


@given(st.lists(letters, max_size=6), stops)
def test_text_waits_only_while_it_may_begin_a_stop_string(pieces: list[str], stop_strings: list[str]) -> None:
    text, shown, pushed = StopStrings(stop_strings), "", ""
    for piece in pieces:
        shown, pushed = shown + text.push(piece), pushed + piece
        if text.stopped:
            return
        # What waits is such a beginning, and no longer end of the text is one.
        waiting = pushed.removeprefix(shown)
        assert len(shown) + len(waiting) == len(pushed)
        longer = [pushed[begin:] for begin in range(len(shown))]
        assert not waiting or any(string.startswith(waiting) for string in stop_strings)
        assert not any(string.startswith(end) for end in longer for string in stop_strings)
        assert waiting or not could_stop(pushed, stop_strings)


def test_nothing_follows_a_stop_string() -> None:
    text = StopStrings(["."])
    assert [text.push("a.b"), text.push("c"), text.finish()] == ["a", "", ""]
    assert text.stopped


def test_a_beginning_that_comes_to_nothing_is_shown_in_the_end() -> None:
    text = StopStrings(["\n\n"])
    assert [text.push("a\n"), text.push("b\n"), text.finish(), text.finish()] == ["a", "\nb", "\n", ""]
    assert not text.stopped


@pytest.mark.usefixtures("unchecked")
def test_what_is_no_list_of_strings_is_refused() -> None:
    with pytest.raises(TypeError, match=r"stop_strings must be a list of strings, got one: write \['end'\]"):
        StopStrings("end")
    with pytest.raises(TypeError, match="a stop string must be a str, got b'end' of type bytes"):
        StopStrings([b"end"])  # type: ignore[list-item]
    with pytest.raises(ValueError, match="a stop string must not be empty"):
        StopStrings(["end", ""])
