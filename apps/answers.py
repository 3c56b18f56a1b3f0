"""Print every accounting answer of Stanford CS336, assignment 1 (2025), each with its formula, in Markdown.

Examples:
    uv run apps/answers.py
    uv run apps/answers.py > docs/answers.md
"""

import argparse

from recipes.accounting_answers import answers

if __name__ == "__main__":
    argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    ).parse_args()
    print(answers())
