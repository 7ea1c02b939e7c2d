"""The distribution: its metadata, the wheel's content, and installations of it."""

from __future__ import annotations

import configparser
import email
import json
import re
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import jsonschema
import pytest
import yaml

from agemem_envs import __version__
from agemem_envs.console import COMMANDS
from tests.conftest import ROOT

BENCHMARK_EXTRAS = {"hotpotqa", "alfworld", "scienceworld", "babyai", "pddl"}
FOLDERS = ("agemem_envs", "agents", "baselines", "eval", "results", "train")
CONSTRAINTS = ROOT / "constraints.txt"
OPENAI_AGENTS = ("openai-agents==0.24.0", "griffelib==2.4.1", "websockets==16.1.1")
"""A distribution with a top-level package ``agents``; it refuses the constrained websockets."""


def config() -> configparser.RawConfigParser:
    parser = configparser.RawConfigParser()
    parser.read(ROOT / "setup.cfg")
    return parser


def extras() -> dict[str, list[str]]:
    return {name: text.split() for name, text in config()["options.extras_require"].items()}


def installed_name(file: Path) -> str:
    """The name of a file of the checkout in the wheel."""
    name = file.relative_to(ROOT).as_posix()
    return name if name.startswith("agemem_envs/") else f"agemem/{name}"


def test_all_brings_every_extra() -> None:
    known = extras()
    assert known.keys() >= {*BENCHMARK_EXTRAS, "train", "baselines", "eval", "dev", "all"}
    assert known.keys() >= {command.extra for command in COMMANDS.values()}
    reached, queue = set(), ["all"]
    while queue:
        name = queue.pop()
        reached.add(name)
        queue += [r[7:-1] for r in known[name] if r.startswith("agemem[")]
    assert reached == set(known)


def test_every_requirement_is_constrained() -> None:
    lines = CONSTRAINTS.read_text().lower().replace("_", "-").split()
    pinned = {line.partition("==")[0] for line in lines}
    for name, requirements in extras().items():
        for requirement in requirements:
            plain = re.split("[=<>]", requirement)[0].lower()
            assert plain.startswith("agemem[") or plain in pinned, (name, requirement)


def test_every_package_folder_is_installed() -> None:
    modules = (file for folder in FOLDERS for file in (ROOT / folder).rglob("*.py"))
    folders = {installed_name(file).rpartition("/")[0].replace("/", ".") for file in modules}
    listed = config()["options"]["packages"].split()
    assert sorted(listed) == sorted(folders | {"agemem.results"})
    assert listed == sorted(listed, key=lambda name: (name.startswith("agemem."), name))


def test_every_folder_of_modules_is_a_package() -> None:
    for folder in FOLDERS:
        for file in (ROOT / folder).rglob("*.py"):
            assert (file.parent / "__init__.py").is_file(), file


def test_the_citation_is_of_this_version() -> None:
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text(encoding="utf-8"))
    assert citation["version"] == __version__
    assert citation["license"] == config()["metadata"]["license_expression"]
    (paper,) = citation["references"]
    assert paper["url"].endswith("/2601.01885")
    assert f"## [{__version__}]" in (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")


def pip(python: str, *arguments: object) -> None:
    command = [python, "-m", "pip", *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=900, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel, built from a copy: a build leaves files in the folder that it is built in."""
    source, out = tmp_path_factory.mktemp("source"), tmp_path_factory.mktemp("wheel")
    for folder in FOLDERS:
        ignored = shutil.ignore_patterns("__pycache__", "runs" if folder == "results" else "")
        shutil.copytree(ROOT / folder, source / folder, ignore=ignored)
    for name in ("setup.cfg", "pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, source)
    pip(sys.executable, "wheel", "--no-deps", "-w", out, source)
    (built,) = out.iterdir()
    return built


@pytest.mark.slow
def test_the_wheel_holds_the_code_and_what_it_ships(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        names = {name for name in archive.namelist() if ".dist-info/" not in name}
        entry_points = archive.read(f"agemem-{__version__}.dist-info/entry_points.txt").decode()
        top_level = archive.read(f"agemem-{__version__}.dist-info/top_level.txt").decode()
    modules = [file for folder in FOLDERS for file in (ROOT / folder).rglob("*.py")]
    data = [
        ROOT / "agemem_envs" / "py.typed",
        *(ROOT / "baselines" / "apart").glob("*.txt"),
        ROOT / "results" / "learning" / "curves.csv",
        *(ROOT / "agemem_envs" / "tasks" / "pddl" / "domains").iterdir(),
        *(ROOT / "agemem_envs" / "tasks").rglob("*.txt"),
        *(ROOT / "eval" / "viewer" / "assets").iterdir(),
        *(ROOT / "results" / "published").glob("*.csv"),
        *(ROOT / "results" / "models").glob("*/*[!d]"),
    ]
    assert len(data) > 15
    assert names == {installed_name(file) for file in [*modules, *data]}
    assert set(top_level.split()) == {"agemem", "agemem_envs"}
    assert "agemem = agemem_envs.console:main" in entry_points


@pytest.mark.slow
def test_the_wheel_names_its_licence(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        about = f"agemem-{__version__}.dist-info"
        metadata = email.message_from_bytes(archive.read(f"{about}/METADATA"))
        licence = archive.read(f"{about}/licenses/LICENSE").decode()
    assert metadata["License-Expression"] == "Apache-2.0"
    assert metadata["License-File"] == "LICENSE"
    assert licence == (ROOT / "LICENSE").read_text(encoding="utf-8")
    assert "Apache License" in licence.partition("Version 2.0")[0]


@pytest.mark.slow
def test_the_citation_follows_its_schema(tmp_path: Path) -> None:
    """The official schema, as the package ``cffconvert`` ships it."""
    pip(sys.executable, "download", "-q", "--no-deps", "-d", tmp_path, "cffconvert==2.0.0")
    (archive,) = tmp_path.iterdir()
    with zipfile.ZipFile(archive) as files:
        schema = json.loads(files.read("cffconvert/schemas/1.2.0/schema.json"))
    citation = yaml.load((ROOT / "CITATION.cff").read_text(encoding="utf-8"), yaml.BaseLoader)
    for reference in citation["references"]:
        reference.update({name: int(reference[name]) for name in ("year", "month")})
    validator = jsonschema.validators.validator_for(schema)(schema)
    assert [error.message for error in validator.iter_errors(citation)] == []
    del citation["title"]
    assert not validator.is_valid(citation)


def new_environment(folder: Path) -> Path:
    """The programs of an empty virtual environment."""
    subprocess.run([sys.executable, "-m", "venv", str(folder)], check=True)
    return folder / "bin"


@pytest.mark.slow
def test_the_bare_install(wheel: Path, tmp_path: Path) -> None:
    programs = new_environment(tmp_path / "venv")
    python = str(programs / "python")
    pip(python, "install", "-q", "-c", CONSTRAINTS, wheel)
    script = """
import gymnasium as gym, importlib.metadata as m, importlib.util as u
env = gym.make("agemem_envs:AgeMem-SyntheticQA-v0", protocol="full")
env.reset(seed=0)
env.action_space.seed(0)
ended = False
while not ended:
    _, reward, terminated, truncated, info = env.step(env.action_space.sample())
    ended = terminated or truncated
print(reward == info["episode"].reward.total)
print(any(u.find_spec(name) for name in ("agents", "baselines", "eval", "train", "tests")))
import json; print(json.dumps([d.name for d in m.distributions() if d.name not in ("pip", "setuptools")]))
for arguments in ({"encoder": "minilm"}, {"memory": "qdrant"}, {"judge": "m@http://x/v1"},
                  {"token_counter": "tokenizer:x"}):
    try:
        gym.make("AgeMem-SyntheticQA-v0", protocol="full", **arguments)
    except ImportError as error:
        print(error)
try:
    gym.make("AgeMem-HotpotQA-v0", protocol="full", data="hub", encoder="hashing")
except ImportError as error:
    print(error)
"""
    run = subprocess.run([python, "-c", script], cwd=tmp_path, capture_output=True, text=True)
    assert run.returncode == 0, run.stderr
    reward, other, installed, *errors = run.stdout.splitlines()
    assert (reward, other) == ("True", "False")
    assert {n.lower() for n in json.loads(installed)} == {
        "agemem", "cloudpickle", "farama-notifications", "gymnasium", "msgspec", "numpy",
        "typing_extensions",
    }  # fmt: skip
    named = ("agemem[minilm]", "agemem[qdrant]", "agemem[eval]",
             "agemem[transformers]", "agemem[hotpotqa]")  # fmt: skip
    for error, extra in zip(errors, named, strict=True):
        assert f'pip install "{extra}"' in error
    for name, command in COMMANDS.items():
        asked = [str(programs / "agemem"), name, "--help"]
        run = subprocess.run(asked, cwd=tmp_path, capture_output=True, text=True)
        if run.returncode == 0 and name != "run":
            continue
        assert run.returncode == 2, name
        assert run.stderr.startswith(f"error: agemem {name} needs ")
        assert run.stderr.endswith(f'Install it with: pip install "agemem[{command.extra}]"\n')
        assert run.stderr.count("\n") == 1


@pytest.mark.slow
@pytest.mark.long
def test_the_programs_run_beside_another_package_agents(wheel: Path, tmp_path: Path) -> None:
    """OpenAI's ``openai-agents`` installs a top-level ``agents``, as this project once did."""
    programs = new_environment(tmp_path / "venv")
    constraints = tmp_path / "constraints.txt"
    lines = CONSTRAINTS.read_text(encoding="utf-8").splitlines()
    kept = [line for line in lines if not line.startswith("websockets==")]
    constraints.write_text("\n".join([*kept, *OPENAI_AGENTS]), encoding="utf-8")
    python = str(programs / "python")
    pip(python, "install", "-q", "-c", constraints, f"{wheel}[eval]", "openai-agents")

    def output(*command: str) -> str:
        done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=300)
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    agemem = str(programs / "agemem")
    played = (
        "--agent",
        "oracle",
        "--envs",
        "AgeMem-SyntheticQA-v0",
        "--protocol",
        "full",
        "--episodes",
        "3",
    )
    assert output(agemem, "--version") == f"agemem {__version__}\n"
    output(agemem, "run", *played)
    (run,) = (tmp_path / "results" / "runs").iterdir()
    assert len((run / "episodes.jsonl").read_text(encoding="utf-8").splitlines()) == 3
    output(agemem, "run", *played, "--workers", "2", "--out", "two")
    assert (tmp_path / "two" / "summary.csv").read_text() == (run / "summary.csv").read_text()
    output(agemem, "report", str(run), "--out", "report")
    assert "SyntheticQA" in (tmp_path / "report" / "report.md").read_text(encoding="utf-8")
    output(agemem, "view", str(run))
    assert (run / "viewer.html").is_file()
    script = "import agents, agemem.agents as ours; print(agents.Runner.__module__, ours.__file__)"
    theirs, ours = output(python, "-c", script).split()
    assert theirs == "agents.run"
    assert Path(ours).is_relative_to(tmp_path / "venv")
    assert Path(ours).parts[-3:] == ("agemem", "agents", "__init__.py")
