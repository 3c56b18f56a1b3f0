"""Train on OpenWebText: the model and the steps of TinyStories, with a vocabulary of 32,000 tokens.

Without the data set on disk it trains on the source of Python's own library, and says so; --data openwebtext
downloads it (5 GB, 12 GB unpacked). A run on TinyStories to compare with gives a table of both losses: in
nats per token, which depend on the vocabulary, and in bits per byte, which don't.

Examples:
    uv run apps/train_owt.py                             # minutes, on what every machine has
    uv run apps/train_owt.py --data openwebtext --preset gpu
    uv run apps/train_owt.py --compare runs/tinystories-demo-1a2b3c4d
    uv run apps/train_owt.py --train-text web.txt --valid-text web-valid.txt --vocab-size 4096
    uv run apps/train_owt.py --preset gpu --dry-run      # what would it cost?
"""

import sys
from dataclasses import fields, replace

from recipes.console import say
from recipes.flags import TrainFlags, parse_flags
from recipes.owt import OWT_PRESETS, OwtFlags, check_finished, compared, owt_out
from recipes.resume import check_resumed
from recipes.texts import choose_texts, settled
from recipes.wrong_input import exit_code_of


def main(arguments: list[str]) -> int:
    """Train, then compare."""
    flags = parse_flags(OwtFlags, __doc__ or "", arguments, OWT_PRESETS)
    if flags.compare is not None:
        check_finished(flags.compare)
    texts = settled(flags.texts, "openwebtext")
    out = owt_out(flags, choose_texts(texts))
    plain = {field.name: getattr(flags, field.name) for field in fields(TrainFlags)}
    settings = replace(TrainFlags(**plain), texts=texts, out=out)
    check_resumed(settings)
    from recipes.run import run  # here: torch takes seconds, and wrong words should not

    code = run(settings)
    if code == 0 and flags.compare is not None and not flags.dry_run:
        say()
        say(compared([flags.compare, out]))
    return code


if __name__ == "__main__":
    sys.exit(exit_code_of(lambda: main(sys.argv[1:])))
