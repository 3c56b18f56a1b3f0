"""A parser of command lines that names the nearest right word for a wrong one."""

import argparse
import difflib
import re
from typing import NoReturn


class NearestParser(argparse.ArgumentParser):
    """argparse's parser, whose errors end with the flag or the choice that is nearest to what was given.

    Example:
        >>> parser = NearestParser(prog="example", exit_on_error=False)
        >>> _ = parser.add_argument("--preset", choices=["small", "large"])
        >>> parser.nearest("unrecognized arguments: --prest")
        '; the nearest is --preset'
        >>> parser.nearest("argument --preset: invalid choice: 'smal' (choose from 'small', 'large')")
        '; the nearest is small'
    """

    def error(self, message: str) -> NoReturn:
        """Print the usage and what is wrong, and end with code 2."""
        super().error(message + self.nearest(message))

    def nearest(self, message: str) -> str:
        """Return what to add to one of argparse's own messages: nothing, if no word could be near."""
        choice = re.search(r"invalid choice: '(.*)' \(choose from (.*)\)$", message)
        flag = re.search(r"^unrecognized arguments: (--[^ =]+)", message)
        if choice:
            given, allowed = choice[1], [word.strip("'\" ") for word in choice[2].split(",")]
        elif flag:
            given, allowed = flag[1], [word for word in self._option_string_actions if word[:2] == "--"]
        else:
            return ""
        return f"; the nearest is {difflib.get_close_matches(given, allowed, n=1, cutoff=0.0)[0]}"
