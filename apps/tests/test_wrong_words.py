"""Wrong words on a command line: refused before torch is imported, naming what was meant."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

APPS = Path(__file__).parents[1]
# An app, its words, and what must be said.
WRONG = [
    ("train_ts.py", "--num-stepz=3", "error: there is no flag --num-stepz, the nearest is --num-steps"),
    ("train_ts.py", "--num-steps=many", "error: --num-steps must be None or INT, got many"),
    ("train_ts.py", "--preset=dmo", "error: --preset must be demo, cpu or gpu, got dmo; the nearest is demo"),
    ("train_ts.py", "--norm PST", "--norm must be pre, post or none, got PST; the nearest is post"),
    ("train_ts.py", "--optimizer.max_lr=1", "no flag --optimizer.max_lr, the nearest is --max-lr"),
    ("train_ts.py", "--bacth-size=3 --dmodel 4", "the nearest is --batch-size; there is no flag --dmodel"),
    ("train_ts.py", "--betas 0.9", "error: --betas must be FLOAT FLOAT, got 0.9"),
    ("train_ts.py", "--warmup-steps=2 --warmup-steps None", "--warmup-steps must be INT, got None"),
    ("train_ts.py", "--max-lr", "error: --max-lr must be FLOAT, got nothing"),
    ("train_ts.py", "--compile yes", "--compile takes no value, got yes: give --compile or --no-compile"),
    ("train_ts.py", "dry-run", "error: dry-run has no place here"),
    ("train_ts.py", "--device=gpu", "give cpu, cuda, cuda:N or mps; the nearest is cuda"),
    ("train_ts.py", "--max-lr=-1", "max_lr must be at least 0 and finite, got -1.0"),
    ("train_ts.py", "--num-steps=9", "give fewer --warmup-steps or more --num-steps"),
    ("train_ts.py", "--d-model=17", "d_model must be a multiple of num_heads, got 17 and 4"),
    ("train_ts.py", "--optimizer=muon --adamw-lr-scale=-1", "adamw_lr_scale must be at least 0 and finite"),
    ("train_ts.py", "--device=cdua", "give cpu, cuda, cuda:N or mps; the nearest is cuda"),
    ("train_ts.py", "--train-text=no.txt --valid-text=no-valid.txt", "--train-text: there is no file no.txt"),
    ("train_ts.py", "--train-text=no.txt", "--train-text needs --valid-text too"),
    ("train_ts.py", "--parallel=fsdp", "--parallel fsdp needs several processes"),
    ("train_owt.py", "--compar=x", "the nearest is --compare"),
    ("tokenizer_experiments.py", "--vocab-sizs 300 400", "the nearest is --vocab-sizes"),
    ("tokenizer_experiments.py", "--vocab-sizes 300 4", "--vocab-sizes must be at least 257"),
    ("tokenizer_experiments.py", "--texts a b --held-out c d", "--texts: there is no file a"),
    ("sweep.py", "lr --ratess 1 2", "the nearest is --rates"),
    ("sweep.py", "lr --rates 1 x", "error: --rates must be FLOAT FLOAT ..., got 1 x"),
    ("sweep.py", "lt", "must be lr, batch, grid or search, got lt; the nearest is lr"),
    ("sweep.py", "lr --jobs=0", "--jobs must be at least 1, got 0"),
    ("sweep.py", "batch --num-steps=60 --sizes 512", "no batch size of 512 leaves 20 updates or more of 240"),
    ("sweep.py", "grid --grid seeed=1,2", "--grid seeed: there is no such field; the nearest is seed"),
    ("sweep.py", "grid --grid vocab_size=300,10", "error: --vocab-size must be at least 257"),
    ("sweep.py", "search --space model.nom=pre,post", "the nearest is model.norm"),
    ("ablate.py", "--variants no-nrm", "the nearest is no-norm"),
    ("ablate.py", "--num-seeds=0", "--num-seeds must be at least 1, got 0"),
    ("ablate.py", "--rate-factors 1 -1", "--rate-factors must be numbers greater than 0, got 1.0 -1.0"),
    ("leaderboard.py", "--measur", "the nearest is --measure"),
    ("leaderboard.py", "--measure --num-steps=50 --token-share=2", "--token-share"),
    ("generate.py", "--run=r --temprature=1", "the nearest is --temperature"),
    ("generate.py", "--run=r --checkpoint=lates", "latest, best or INT, got lates; the nearest is latest"),
    ("generate.py", "", "error: missing: --run PATH"),
    ("generate.py", "--run=r --top-p=2", "top_p must be above 0 and at most 1"),
    ("generate.py", "--run=r --max-tokens=-1", "error: --max-tokens must be at least 0, got -1"),
    ("generate.py", "--run=r --seed=-1", "error: --seed must be at least 0, got -1"),
    ("generate.py", "--run=no-run", "no-run is not a run: no-run/config.json is missing"),
    ("export.py", "no-run out --to=hugingface", "got hugingface; the nearest is huggingface"),
    ("export.py", "no-run --to=gguf", "error: missing: OUT"),
    ("export.py", "no-run out --to=gguf --dtyp=float16", "the nearest is --dtype"),
    ("export.py", "no-run out --to=safetensors", "no-run is not a run: no-run/config.json is missing"),
    ("report.py", "--outt=x", "the nearest is --out"),
    ("report.py", "no-run", "no-run is no run and holds none"),
    ("sgd_toy.py", "--rate 1", "the nearest is --rates"),
    ("sgd_toy.py", "--seed=-1", "error: --seed must be 0 to 2**63 - 1, got -1"),
    ("sgd_toy.py", "--rates -1", "--rates: a rate must be at least 0 and finite, got -1.0"),
    ("account.py", "--prest=gpt2-xl", "unrecognized arguments: --prest=gpt2-xl; the nearest is --preset"),
    ("account.py", "--preset=gpt2-xll", "the nearest is gpt2-xl"),
    ("answers.py", "--dry-rum", "the nearest is --dry-run"),
]  # fmt: skip
IN_ONE_PROCESS = """
import contextlib, io, json, runpy, sys

sys.path.insert(0, sys.argv[1])
said = []
for app, words in json.loads(sys.argv[2]):
    sys.argv = [app, *words.split()]
    with contextlib.redirect_stderr(io.StringIO()) as errors, contextlib.redirect_stdout(io.StringIO()):
        try:
            runpy.run_path(app, run_name="__main__")
        except SystemExit as end:
            code = end.code
    said.append((code, errors.getvalue(), "torch" in sys.modules))
print(json.dumps(said))
"""


@pytest.fixture(scope="module")
def said(tmp_path_factory: pytest.TempPathFactory) -> dict[tuple[str, str], tuple[int, str, bool]]:
    """Exit code, standard error, and whether torch was imported until then."""
    calls = [(str(APPS / app), words) for app, words, _ in WRONG]
    directory = tmp_path_factory.mktemp("nothing")
    done = subprocess.run(
        [sys.executable, "-c", IN_ONE_PROCESS, str(APPS), json.dumps(calls)],
        cwd=directory,
        capture_output=True,
        check=True,
    )
    assert list(directory.iterdir()) == []
    return dict(zip([wrong[:2] for wrong in WRONG], json.loads(done.stdout), strict=True))


def test_every_app_is_asked() -> None:
    assert {app for app, *_ in WRONG} == {path.name for path in APPS.glob("*.py")}


@pytest.mark.parametrize(("app", "words", "message"), WRONG)
def test_wrong_words_are_refused_before_torch_is_imported(
    said: dict[tuple[str, str], tuple[int, str, bool]], app: str, words: str, message: str
) -> None:
    code, told, torch_is_there = said[app, words]
    assert code == 2
    assert message in told
    assert len(told.splitlines()) == 1 or "usage: " in told
    assert not torch_is_there
