"""The root's lists of packages say the same, and the packages keep what they promise."""

import ast
import importlib
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PACKAGES = sorted(path.parent.name for path in ROOT.glob("packages/*/pyproject.toml"))
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))


def test_every_list_of_packages_names_them_all() -> None:
    assert PACKAGES == ["accounting", "bpe", "nn", "optim", "trainer"]
    names = {f"hornbook-{package}" for package in PACKAGES}
    tool = PROJECT["tool"]
    assert {name for name in PROJECT["project"]["dependencies"] if name.startswith("hornbook-")} == names
    assert set(tool["uv"]["sources"]) == names
    assert {f"packages/{package}/src" for package in PACKAGES} <= set(tool["mypy"]["mypy_path"])
    assert {f"hornbook.{package}" for package in PACKAGES} <= set(tool["importlinter"]["root_packages"])
    nox_packages = next(
        ast.literal_eval(node.value)
        for node in ast.parse((ROOT / "noxfile.py").read_text(encoding="utf-8")).body
        if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "PACKAGES"
    )
    assert list(nox_packages) == PACKAGES


@pytest.mark.parametrize("package", PACKAGES)
def test_a_package_is_one_word_in_three_places(package: str) -> None:
    directory = ROOT / "packages" / package
    member = tomllib.loads((directory / "pyproject.toml").read_text(encoding="utf-8"))
    assert member["project"]["name"] == f"hornbook-{package}"
    assert (directory / "src" / "hornbook" / package / "__init__.py").is_file()
    assert (directory / "src" / "hornbook" / package / "py.typed").is_file()
    # A namespace: a file here would hide the other packages.
    assert not (directory / "src" / "hornbook" / "__init__.py").exists()


@pytest.mark.parametrize("package", ["nn", "optim", "trainer"])
def test_every_public_name_is_there_and_hidden_by_no_module(package: str) -> None:
    # Names are imported when asked for: a module of the same name would be taken for it, once it is imported.
    module = importlib.import_module(f"hornbook.{package}")
    directory = ROOT / "packages" / package / "src" / "hornbook" / package
    assert not {path.stem for path in directory.iterdir()} & set(module.__all__)
    assert all(
        callable(getattr(module, name)) or name.isupper() or name[0].isupper() for name in module.__all__
    )


def test_the_tests_of_bpe_find_the_same_here_as_alone() -> None:
    member = tomllib.loads((ROOT / "packages" / "bpe" / "pyproject.toml").read_text(encoding="utf-8"))
    alone, here = member["dependency-groups"]["dev"], PROJECT["dependency-groups"]["dev"]
    assert set(alone) <= set(here)
    (zstandard,) = (requirement for requirement in alone if requirement.startswith("zstandard"))
    assert member["project"]["optional-dependencies"] == {"zst": [zstandard]}


def test_the_compiled_core_is_built_and_never_committed() -> None:
    ignored = (ROOT / ".gitignore").read_text(encoding="utf-8").splitlines()
    for suffix in ("so", "dylib", "dll"):
        assert f"/packages/bpe/src/hornbook/bpe/_core.{suffix}" in ignored
    # uv builds again when one of these changes.
    member = tomllib.loads((ROOT / "packages" / "bpe" / "pyproject.toml").read_text(encoding="utf-8"))
    keys = [key["file"] for key in member["tool"]["uv"]["cache-keys"]]
    watched = {path for key in keys for path in (ROOT / "packages" / "bpe").glob(key)}
    sources = [
        *(ROOT / "packages" / "bpe").glob("src/**/*.c"),
        *(ROOT / "packages" / "bpe").glob("src/**/*.h"),
    ]
    assert {*sources, ROOT / "packages" / "bpe" / "hatch_build.py"} <= watched


def test_no_pickle_is_read_and_no_code_run_from_data() -> None:
    forbidden = {"pickle", "marshal", "shelve", "dill", "joblib"}
    for path in [*ROOT.glob("packages/*/src/**/*.py"), *ROOT.glob("apps/**/*.py")]:
        if "tests" in path.parts:
            continue
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Import | ast.ImportFrom):
                module = getattr(node, "module", None) or ""
                modules = [alias.name for alias in node.names] + [module]
                assert not forbidden & {module.split(".")[0] for module in modules}, path
                # Under another name the calls below would not be seen.
                assert not (module == "torch" and {"load", "save"} & set(modules)), path
                assert all(alias.asname is None for alias in node.names if alias.name == "torch"), path
            if isinstance(node, ast.Call):
                called = ast.unparse(node.func)
                assert called not in {"eval", "exec", "torch.load", "torch.save"}, f"{path}: {called}"
                assert called not in {"__import__", "builtins.eval", "builtins.exec"}, f"{path}: {called}"
                assert not any(keyword.arg == "allow_pickle" for keyword in node.keywords), path


def test_modules_are_short_and_apps_shorter() -> None:
    for path in [*ROOT.glob("packages/*/src/**/*.py"), *ROOT.glob("apps/recipes/**/*.py")]:
        assert len(path.read_text(encoding="utf-8").splitlines()) <= 400, path
    for path in ROOT.glob("packages/bpe/src/**/*.[ch]"):
        assert len(path.read_text(encoding="utf-8").splitlines()) <= 400, path
    for path in ROOT.glob("apps/*.py"):
        assert len(path.read_text(encoding="utf-8").splitlines()) <= 60, path
