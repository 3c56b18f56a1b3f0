"""The assignment's questions on tokenizers, answered in Markdown with what was measured."""

from collections.abc import Sequence
from typing import Any

from hornbook.accounting import format_seconds

from .markdown import table
from .texts import Texts
from .tokenizer_trials import Training

Rows = dict[tuple[str, str], dict[str, Any]]  # what was measured, by text and tokenizer


def answers(
    corpora: Sequence[Texts],
    trainings: Sequence[Training],
    measured: dict[str, Any],
    beginnings: Sequence[Sequence[Sequence[str]]],
) -> str:
    """Write it all down.

    Args:
        corpora: The corpora; tokenizer i was trained on corpus i.
        trainings: How each tokenizer came to be.
        measured: Of each tokenizer on the held-out text, then the training text of each corpus.
        beginnings: Of each corpus' held-out text, how each tokenizer cuts its beginning.
    """
    names = [
        f"{one.slug}, {entry['vocab_size']:,}"
        for one, entry in zip(corpora, measured["tokenizers"], strict=True)
    ]
    rows = {(m["text"], m["tokenizer"]): m for m in measured["measurements"]}
    keys = [entry["name"] for entry in measured["tokenizers"]]
    parts = ["# Two tokenizers on two corpora", _training(names, trainings, measured)]
    parts += [_compression(names, keys, corpora, rows), _throughput(names, keys, corpora, rows, measured)]
    parts += [_types(names, keys, corpora, rows, measured), _examples(names, corpora, beginnings)]
    return "\n\n".join(parts) + "\n"


def _training(names: list[str], trainings: Sequence[Training], measured: dict[str, Any]) -> str:
    rows = [
        [
            name,
            made.corpus,
            f"{made.text_bytes / 1e6:,.1f} MB",
            format_seconds(made.seconds),
            "not known" if made.peak_bytes is None else f"{made.peak_bytes / 1e6:,.0f} MB",
            " ".join(f"`{token}`" for token in entry["longest_tokens"][:3]),
        ]
        for name, made, entry in zip(names, trainings, measured["tokenizers"], strict=True)
    ]
    head = ["tokenizer", "trained on", "text", "time", "most memory", "longest tokens"]
    return f"## Training\n\n{table(head, rows)}"


def _compression(names: list[str], keys: list[str], corpora: Sequence[Texts], rows: Rows) -> str:
    body = []
    for corpus in corpora:
        for what, path in (("held out", corpus.valid), ("training", corpus.train)):
            ones = [rows[str(path), key] for key in keys]
            body.append([f"{corpus.name}, {what}", *(_ratios(one) for one in ones)])
    own, other = corpora[0], corpora[1]
    here, there = (rows[str(own.valid), key]["bytes_per_token"] or 1.0 for key in keys)
    back, home = (rows[str(other.valid), key]["bytes_per_token"] or 1.0 for key in keys)
    sampled = len(rows[str(own.valid), keys[0]]["sampled_documents"])
    return (
        "## Compression: bytes per token\n\n"
        f"On the whole text; in brackets on {sampled} documents drawn from it.\n\n"
        f"{table(['text', *names], body)}\n\n"
        f"On held-out text of {own.slug} the other tokenizer gives {here / there:.2f} times the tokens that "
        f"its own gives; on {other.slug}, {home / back:.2f} times. Merges are the frequent words of the text "
        "that they were learned on; elsewhere many of them lie idle and words fall into pieces."
    )


def _ratios(one: dict[str, Any]) -> str:
    if one["bytes_per_token"] is None:
        return "-"
    sampled = one["sampled_bytes_per_token"]
    return f"{one['bytes_per_token']:.3f}" + ("" if sampled is None else f" ({sampled:.3f})")


def _throughput(
    names: list[str],
    keys: list[str],
    corpora: Sequence[Texts],
    rows: Rows,
    measured: dict[str, Any],
) -> str:
    body, short = [], False
    for corpus in corpora:
        for name, key in zip(names, keys, strict=True):
            one = rows[str(corpus.train), key]
            short |= one["seconds"] < 0.5
            pile = "-" if one["pile_seconds"] is None else format_seconds(one["pile_seconds"])
            body.append([corpus.name, name, f"{one['bytes_per_second'] / 1e6:,.1f} MB/s", pile])
    head = ["text", "tokenizer", "throughput", f"the Pile ({measured['pile_bytes'] / 1e9:.0f} GB)"]
    note = "Reading the training text, encoding it and writing the ids, from a cold start, on this machine."
    if short:
        note += " Some took less than half a second: give longer texts for a throughput to rely on."
    return f"## Throughput\n\n{table(head, body)}\n\n{note}"


def _types(
    names: list[str], keys: list[str], corpora: Sequence[Texts], rows: Rows, measured: dict[str, Any]
) -> str:
    body = []
    for name, key, entry, corpus in zip(names, keys, measured["tokenizers"], corpora, strict=True):
        num_tokens = rows[str(corpus.train), key]["num_tokens"]
        sizes = [f"{num_tokens * size / 1e6:,.1f} MB" for size in (2, 4, 8)]
        body.append([name, f"0 to {entry['vocab_size'] - 1:,}", entry["dtype"], *sizes])
    head = ["tokenizer", "ids", "type", "its training text as uint16", "as int32", "as int64"]
    return (
        f"## Why uint16\n\n{table(head, body)}\n\n"
        "The greatest id decides. uint16 holds 0 to 65,535, more than either vocabulary needs, in two bytes "
        "a token. uint8 ends at 255, before the first merge; a signed type would waste a bit on signs that "
        "ids don't have; wider ones take two or four times the disk, and the memory that batches are read "
        "through. From 65,537 tokens on it has to be uint32."
    )


def _examples(
    names: list[str], corpora: Sequence[Texts], beginnings: Sequence[Sequence[Sequence[str]]]
) -> str:
    parts = ["## How they cut", "The same beginning of a held-out text, one token between two bars."]
    for corpus, cuts in zip(corpora, beginnings, strict=True):
        for name, tokens in zip(names, cuts, strict=True):
            shown = "|".join(token.replace("\n", "⏎") for token in tokens)
            parts.append(f"{corpus.name}, by {name}:\n\n    |{shown}|")
    return "\n\n".join(parts)
