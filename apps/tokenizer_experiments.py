"""Train a tokenizer on each of two corpora and measure both on both: the assignment's questions, answered.

Bytes per token on ten sampled documents and on all, throughput, the time that the Pile (825 GB) would take,
the longest tokens, and why ids are stored as uint16. The corpora are TinyStories and OpenWebText if they lie
in the data directory, else what every machine has: generated stories and the source of Python's own library.
The tables are printed and written to answers.md; tokenizers that are there already are not trained again.

Examples:
    uv run apps/tokenizer_experiments.py                        # seconds
    uv run apps/tokenizer_experiments.py --download             # both data sets, 14 GB, first
    uv run apps/tokenizer_experiments.py --data-dir /mnt/texts --out runs/tokenizers-full
    uv run apps/tokenizer_experiments.py --texts a.txt b.txt --held-out a-valid.txt b-valid.txt
    uv run apps/tokenizer_experiments.py --vocab-sizes 5000 5000 --dry-run
"""

import sys

from hornbook.accounting import format_seconds
from hornbook.trainer import atomic_file
from recipes.command_line import read_flags
from recipes.console import printable, say
from recipes.texts import check_text, provide
from recipes.tokenizer_answers import answers
from recipes.tokenizer_cost import predicted_seconds
from recipes.tokenizer_flags import Flags, chosen_corpora, describe
from recipes.tokenizer_trials import first_document, measure, train_tokenizer
from recipes.wrong_input import exit_code_of


def main(flags: Flags) -> int:
    """Train, measure, write the answers down and print them."""
    corpora = chosen_corpora(flags)
    describe(flags, corpora)
    if flags.dry_run:
        say(f"time: about {format_seconds(predicted_seconds(corpora, flags.vocab_sizes))}, without downloads")
        return 0
    for corpus in corpora:
        provide(corpus)
        for path in (corpus.train, corpus.valid):
            check_text(path, "--texts", 1)
    made = [
        train_tokenizer(corpus, size, flags.out)
        for corpus, size in zip(corpora, flags.vocab_sizes, strict=True)
    ]
    places = [place for place, _ in made]
    paths = [path for corpus in corpora for path in (corpus.valid, corpus.train)]
    measured = measure(places, paths, num_documents=flags.num_documents, seed=flags.seed)
    beginnings = [first_document(corpus.valid, places) for corpus in corpora]
    text = answers(corpora, [how for _, how in made], measured, beginnings)
    with atomic_file(flags.out / "answers.md") as file:
        file.write(text.encode())
    say(printable(text))
    say(f"written to {flags.out / 'answers.md'}")
    return 0


if __name__ == "__main__":
    sys.exit(exit_code_of(lambda: main(read_flags(Flags, __doc__, sys.argv[1:]))))
