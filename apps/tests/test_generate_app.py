import shutil
from dataclasses import replace
from pathlib import Path

import pytest
import torch
import tyro

import generate
from hornbook.bpe import Tokenizer, train_bpe
from hornbook.nn import GREEDY, Sampling
from hornbook.nn import generate as generate_ids
from recipes.sampling import TextOptions, stream_samples
from recipes.stories import END_OF_TEXT
from recipes.trained import TrainedModel, load_run
from recipes.wrong_input import exit_code_of
from tiny import arguments, train, write_texts


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("generate")
    assert train(*arguments(directory, *write_texts(directory))) == 0
    return directory / "run"


@pytest.fixture(scope="module")
def trained(run: Path) -> TrainedModel:
    loaded = load_run(run, torch.device("cpu"))
    loaded.model.double()  # so that rows of a batch and single texts agree in every id
    return loaded


def samples(trained: TrainedModel, prompts: list[str], options: TextOptions) -> list[str]:
    texts = [""] * len(prompts)
    for number, piece in stream_samples(trained, prompts, options):
        assert not any(texts[number + 1 :])  # in their order
        texts[number] += piece
    return texts


def said(capsys: pytest.CaptureFixture[str], run: Path, *words: str) -> tuple[int, str]:
    """Call the app as the shell does, but in this process."""
    arguments = [f"--run={run}", "--device=cpu", "--max-tokens=20", *words]
    code = exit_code_of(lambda: generate.main(tyro.cli(generate.Flags, args=arguments)))
    output = capsys.readouterr()
    return code, output.err if code else output.out


def test_samples_are_the_decoded_ids_of_each_prompt_alone(trained: TrainedModel) -> None:
    prompts, options = ["", "Once upon", "One day"], TextOptions(max_tokens=40, seed=5)
    for number, text in enumerate(samples(trained, prompts, options)):
        ids = generate_ids(
            trained.model,
            [trained.stop_id, *trained.tokenizer.encode(prompts[number])],
            max_tokens=40,
            sampling=options.sampling,
            stop_ids=[trained.stop_id],
            seed=5 + number,
        )
        assert text == trained.tokenizer.decode(ids)


def test_a_stop_text_ends_each_sample_before_it(trained: TrainedModel) -> None:
    free = samples(trained, [""] * 3, TextOptions(max_tokens=60))
    stop = free[0][10:13]
    stopped = samples(trained, [""] * 3, TextOptions(max_tokens=60, stop=(stop, "\0")))
    assert stopped == [text.split(stop)[0] for text in free]


def test_text_of_the_first_sample_comes_at_once(trained: TrainedModel) -> None:
    calls: list[None] = []
    handle = trained.model.register_forward_hook(lambda *_: calls.append(None))
    stream = stream_samples(trained, ["", ""], TextOptions(max_tokens=30, sampling=GREEDY))
    assert next(stream)[0] == 0
    assert len(calls) == 1
    handle.remove()


def test_the_command_line_says_prompts_and_texts_in_order(
    run: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    code, text = said(capsys, run, "--prompt", "One day", "", "--num-samples=2", "--seed=3")
    assert code == 0
    parts = text.split("\n---\n")
    assert len(parts) == 4
    assert [part.startswith("One day") for part in parts[:2]] == [True, True]
    assert parts[0] != parts[1]
    assert said(capsys, run, "--prompt", "One day", "", "--num-samples=2", "--seed=3") == (0, text)


def test_the_checkpoint_can_be_chosen(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    device = torch.device("cpu")
    assert [load_run(run, device, which).step for which in ("latest", 10)] == [12, 10]
    assert said(capsys, run, "--checkpoint=10") != said(capsys, run) == said(capsys, run, "--checkpoint=12")
    code, text = said(capsys, run, "--checkpoint=11")
    assert code == 2 and text.endswith("has no checkpoint of step 11, but of steps [10, 12]\n")
    code, text = said(capsys, run, "--checkpoint=best")
    assert code == 2 and "says how good it is" in text  # it was not trained with --keep-best


def test_a_tokenizer_that_is_not_the_checkpoints_is_refused_with_both_fingerprints(
    run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    own = Tokenizer.load(run / "tokenizer")
    (tmp_path / "text").write_text("a text of its own, and so merges of its own\n" * 20)
    for vocab_size in (own.vocab_size, 270):  # as large, and not
        copy = tmp_path / str(vocab_size)
        shutil.copytree(run, copy)
        other = Tokenizer(*train_bpe(tmp_path / "text", vocab_size, [END_OF_TEXT]), [END_OF_TEXT])
        shutil.rmtree(copy / "tokenizer")
        other.save(copy / "tokenizer")
        code, text = said(capsys, copy)
        assert code == 2
        assert f'is of a run with tokenizer = "{own.fingerprint}", this one has "{other.fingerprint}"' in text


def test_every_option_reaches_the_model(trained: TrainedModel) -> None:
    words = ["--run=r", "--temperature=0.5", "--top-k=7", "--top-p=0.6", "--min-p=0.01", "--max-tokens=3"]
    words += ["--repetition-penalty=1.1", "--stop", "a", "b", "--seed=9"]
    expected = TextOptions(
        sampling=Sampling(temperature=0.5, top_k=7, top_p=0.6, min_p=0.01, repetition_penalty=1.1),
        max_tokens=3,
        stop=("a", "b"),
        seed=9,
    )
    assert tyro.cli(generate.Flags, args=words).options == expected
    plain = tyro.cli(generate.Flags, args=["--run=r"]).options
    assert plain == TextOptions()
    assert plain.sampling == Sampling(temperature=0.8, top_p=0.9)
    hot = samples(trained, [""], replace(TextOptions(), sampling=Sampling(temperature=5.0), max_tokens=30))
    assert hot != samples(trained, [""], replace(TextOptions(), sampling=GREEDY, max_tokens=30))


@pytest.mark.parametrize(
    ("word", "message"),
    [
        ("--num-samples=0", "error: --num-samples must be at least 1, got 0"),
        ("--top-k=100000", "error: top_k is 100000, more than the vocabulary of 300 tokens"),
        ("--max-tokens=-1", "error: --max-tokens must be at least 0, got -1"),
        ("--temperature=-1", "error: temperature must be finite and at least 0"),
        ("--seed=-1", "error: --seed must be at least 0, got -1"),
        ("--stop=", "error: --stop must not be empty"),
    ],
)
def test_what_cannot_be_meant_is_one_line(
    run: Path, capsys: pytest.CaptureFixture[str], word: str, message: str
) -> None:
    code, text = said(capsys, run, word)
    assert code == 2
    assert text.startswith(message)
    assert len(text.splitlines()) == 1
