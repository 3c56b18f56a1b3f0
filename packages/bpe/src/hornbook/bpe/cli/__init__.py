"""The command line, `python -m hornbook.bpe`: one module a command, each with `add_arguments` and `run`."""
