"""The workflows and hooks of ``.github``: what they name exists, and what they run, runs."""

from __future__ import annotations

import json
import os
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.e2e.conftest import Bench, readme_block
from tests.e2e.test_add_a_method import BLOCK, install

ROOT = Path(__file__).parents[2]
FOLDER = ROOT / ".github" / "workflows"
WORKFLOWS = sorted(FOLDER.glob("*.yml"))
CI_PAGE = (ROOT / "docs" / "ci.md").read_text(encoding="utf-8")
REPRODUCIBILITY = (ROOT / "docs" / "reproducibility.md").read_text(encoding="utf-8")

# version, commit of its tag and the inputs its action.yml declares, from the actions' repositories
ACTIONS = {
    "actions/checkout": ("v7.0.1", "3d3c42e5aac5ba805825da76410c181273ba90b1",
                         {"persist-credentials", "fetch-depth", "path", "ref", "repository"}),
    "actions/setup-python": ("v7.0.0", "5fda3b95a4ea91299a34e894583c3862153e4b97",
                             {"python-version", "cache", "cache-dependency-path"}),
    "actions/cache": ("v5.0.5", "27d5ce7f107fe9357f9df03efb73ab90386fccae",
                      {"path", "key", "restore-keys"}),
    "actions/upload-artifact": ("v7.0.0", "bbbca2ddaa5d8feaa63e36b76fdaad77386f024f",
                                {"name", "path", "if-no-files-found", "retention-days"}),
}  # fmt: skip


@cache
def load(path: Path) -> dict[str, Any]:
    loaded = yaml.safe_load(path.read_text(encoding="utf-8"))
    assert isinstance(loaded, dict)
    # YAML 1.1 reads the key `on` as true
    return {"on" if key is True else str(key): value for key, value in loaded.items()}


def steps() -> Iterator[tuple[Path, str, dict[str, Any]]]:
    for path in WORKFLOWS:
        for name, job in load(path)["jobs"].items():
            for step in job["steps"]:
                yield path, name, step


def scripts() -> list[str]:
    """Every script of a workflow, and every shell block of the two pages."""
    found = [step["run"] for _, _, step in steps() if "run" in step]
    for page in (CI_PAGE, REPRODUCIBILITY):
        found += re.findall(r"```sh\n(.*?)```", page, re.S)
    hooks = yaml.safe_load((ROOT / ".pre-commit-hooks.yaml").read_text())
    return [*found, *(hook["entry"] for hook in hooks)]


def commands(script: str) -> Iterator[list[str]]:
    """The words after each ``bench`` of a script."""
    for line in script.replace("\\\n", " ").splitlines():
        lexer = shlex.shlex(line, posix=True, punctuation_chars=";|&")
        lexer.whitespace_split = True
        words: list[str] = []
        for word in [*lexer, ";"]:
            if word and set(word) <= set(";|&"):
                while words and words[0] in {"then", "do", "else"}:
                    words.pop(0)
                if words and words[0] == "bench":
                    yield words[1:]
                words = []
            else:
                words.append(word)


def test_the_commands_of_a_script_are_found() -> None:
    script = "for m in a b; do\n  bench run --method \"$m\" \\\n    --out runs || code=$?\ndone\n" \
             "if true; then bench verify runs; fi\necho bench"  # fmt: skip
    assert list(commands(script)) == [["run", "--method", "$m", "--out", "runs"],
                                      ["verify", "runs"]]  # fmt: skip


@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.name)
def test_a_workflow_may_read_and_nothing_else(path: Path) -> None:
    loaded, text = load(path), path.read_text()
    assert set(loaded) <= {"name", "on", "permissions", "concurrency", "defaults", "jobs"}
    assert loaded["permissions"] == {"contents": "read"}
    assert "secrets" not in text and "pull_request_target" not in text
    if "workflow_call" not in loaded["on"]:
        assert loaded["concurrency"]["cancel-in-progress"] is True
        assert "pull_request" in loaded["on"]
    for job in loaded["jobs"].values():
        assert "permissions" not in job
        assert job["timeout-minutes"] <= 120


def test_every_action_is_known_and_pinned() -> None:
    seen = set()
    for path, _, step in steps():
        assert ("uses" in step) != ("run" in step)
        if "uses" in step:
            name, _, commit = step["uses"].partition("@")
            version, pinned, inputs = ACTIONS[name]
            assert commit == pinned
            assert f"{name}@{commit} # {version}" in path.read_text()
            assert set(step.get("with", {})) <= inputs
            seen.add(name)
    assert seen == set(ACTIONS)


@pytest.mark.parametrize("number", range(len(scripts())))
def test_every_script_is_valid_shell_without_expressions(number: int) -> None:
    script = scripts()[number]
    # an expression in a script is text that a stranger's branch name can end
    assert "${{" not in script
    done = subprocess.run(["bash", "-n"], input=script, text=True, capture_output=True, check=False)
    assert done.returncode == 0, done.stderr


def test_every_command_and_option_exists(bench: Bench) -> None:
    used: dict[str, set[str]] = {}
    for script in scripts():
        for words in commands(script):
            options = {word.partition("=")[0] for word in words if word.startswith("--")}
            used.setdefault(words[0], set()).update(options)
    hook = re.search(r"id: bench-check\n +args: \[(.*?)\]", CI_PAGE)
    assert hook
    used["check"] |= {word for word in hook[1].split(", ") if word.startswith("--")}
    assert {"run", "validate", "verify", "check", "freeze", "report", "rerun"} <= set(used)
    for command, options in used.items():
        outcome = bench(command, "--help")
        assert outcome.code == 0, f"bench {command} does not exist: {outcome.stderr}"
        offered = set(re.findall(r"(?<![\w-])--[a-z][a-z-]*", outcome.stdout))
        assert options <= offered, f"bench {command} has no {options - offered}"


def test_names_that_a_workflow_refers_to() -> None:
    methods = re.findall(r"for method in ([\w -]+);", (FOLDER / "regression.yml").read_text())
    from benchmark import registry

    assert methods and set(methods[0].split()) <= set(registry.names(registry.METHODS))
    regression = load(FOLDER / "regression.yml")["jobs"]
    assert regression["check"]["needs"] in regression
    assert {step.get("id") for step in regression["references"]["steps"]} >= {"list"}


def test_ci_runs_the_command_of_the_readme() -> None:
    (command,) = (step["run"] for _, _, step in steps()
                  if step.get("name") == "The README's test command")  # fmt: skip
    assert command.strip() == readme_block("test-command")
    matrix = load(FOLDER / "tests.yml")["jobs"]["tests"]["strategy"]["matrix"]
    assert matrix["python"] == ["3.11", "3.12"]
    lint = "\n".join(step["run"] for _, job, step in steps() if job == "lint" and "run" in step)
    script = (ROOT / ".ci" / "run").read_text()
    for tool in ("ruff check .", "ruff format --check .", "lint-imports"):
        assert tool in lint and tool in script


def shell(script: str, cwd: Path, env: dict[str, str]) -> subprocess.CompletedProcess[str]:
    """A step as the runner starts it."""
    return subprocess.run(
        ["bash", "--noprofile", "--norc", "-eo", "pipefail", "-c", script], cwd=cwd, env=env,
        text=True, capture_output=True, timeout=600, check=False,
    )  # fmt: skip


def test_the_list_of_references_is_a_matrix(tmp_path: Path) -> None:
    (script,) = (step["run"] for _, _, step in steps() if step.get("id") == "list")
    env = {**os.environ, "GITHUB_OUTPUT": str(tmp_path / "output")}
    assert shell(script, tmp_path, env).returncode != 0, "without references it must not pass"
    (tmp_path / "output").unlink()
    place = tmp_path / "reports" / "reference" / "mini-64-v1" / "afhq"
    place.mkdir(parents=True)
    for method in ("ours", "zecon"):
        (place / f"{method}.parquet").touch()
    done = shell(script, tmp_path, env)
    assert done.returncode == 0, done.stderr
    key, _, value = (tmp_path / "output").read_text().strip().partition("=")
    assert key == "list"
    assert json.loads(value) == [
        {"protocol": "mini-64-v1", "dataset": "afhq", "method": "ours"},
        {"protocol": "mini-64-v1", "dataset": "afhq", "method": "zecon"},
    ]


def third_party() -> dict[str, Any]:
    """The inputs of the reusable workflow, as the page's caller sets them."""
    text = re.search(
        r"<!-- file: \.github/workflows/bench\.yml -->\n```yaml\n(.*?)```", CI_PAGE, re.S
    )
    assert text
    (job,) = yaml.safe_load(text[1])["jobs"].values()
    file = job["uses"].partition("@")[0].partition("stylebench/")[2]
    assert ROOT / file == FOLDER / "check-method.yml"
    declared = load(ROOT / file)["on"]["workflow_call"]["inputs"]
    assert set(job["with"]) <= set(declared)
    assert {name for name, facts in declared.items() if facts.get("required")} <= set(job["with"])
    documented = set(re.findall(r"^\| (.*?) \|", CI_PAGE, re.M))
    assert all(any(f"`{name}`" in cell for cell in documented) for name in declared)
    return {name: facts.get("default") for name, facts in declared.items()} | job["with"]


def resolved(env: dict[str, str], inputs: dict[str, Any]) -> dict[str, str]:
    """``${{ inputs.x }}`` as the runner writes it into the environment."""
    found = {}
    for name, value in env.items():
        match = re.fullmatch(r"\$\{\{ inputs\.([\w-]+) \}\}", value)
        assert match, f"{name}: {value} is more than an input"
        given = inputs[match[1]]
        found[name] = str(given).lower() if isinstance(given, bool) else str(given)
    return found


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    """A third party's repository: the package of docs/add-a-method.md at its root."""
    page = (ROOT / "docs" / "add-a-method.md").read_text(encoding="utf-8")
    for block in BLOCK.finditer(page):
        if block["path"]:
            (tmp_path / Path(block["path"]).name).write_text(block["text"])
    return tmp_path


@pytest.fixture
def runner(repository: Path, bench_env: dict[str, str], bench_program: Path) -> dict[str, str]:
    """The runner's environment.

    Without a network the install step is not run: ``bench`` is that of this environment, and the
    method's package is put on the path as pip would put it.
    """
    site, programs = repository / ".site", repository / ".bin"
    site.mkdir()
    programs.mkdir()
    (programs / "bench").symlink_to(bench_program)
    (programs / "python").symlink_to(sys.executable)
    install(repository, site)
    (site / "posterize.py").unlink()
    (site / "posterize.py").symlink_to(repository / "posterize.py")
    paths = [str(site), os.environ.get("PYTHONPATH", "")]
    return {
        **bench_env, "PYTHONPATH": os.pathsep.join(filter(None, paths)),
        "PATH": os.pathsep.join([str(programs), os.environ["PATH"]]),
        "GITHUB_STEP_SUMMARY": str(repository / "step-summary.md"),
    }  # fmt: skip


@pytest.mark.slow
def test_the_reusable_workflow_runs_for_a_third_partys_method(
    repository: Path, runner: dict[str, str]
) -> None:
    job = load(FOLDER / "check-method.yml")["jobs"]["check"]
    env = {**runner, **resolved(job["env"], third_party())}
    assert (env["METHOD"], env["LIMIT"]) == ("posterize", "4")
    run = {step["name"]: step["run"] for step in job["steps"] if "run" in step}
    assert list(run) == ["Install", "Validate", "Run", "Check", "Report"]

    def step(name: str) -> subprocess.CompletedProcess[str]:
        return shell(run[name], repository, env)

    for name in ("Validate", "Run"):
        done = step(name)
        assert done.returncode == 0, f"{name}\n{done.stdout}\n{done.stderr}"
    out = repository / "bench-out"
    methods = sorted(path.name for path in (out / "runs" / "mini-64-v1" / "afhq").iterdir())
    assert methods == ["identity", "posterize"]
    done = step("Check")
    assert done.returncode == 0 and "::notice::no frozen scores of posterize" in done.stdout

    # the page's commands freeze what is compared from now on
    (block,) = re.findall(r"<!-- run -->\n```sh\n(.*?)```", CI_PAGE, re.S)
    done = shell(block, repository, env)
    assert done.returncode == 0, f"{done.stdout}\n{done.stderr}"
    assert (repository / "reference" / "mini-64-v1" / "afhq" / "posterize.parquet").is_file()
    done = step("Check")
    assert done.returncode == 0, f"{done.stdout}\n{done.stderr}"
    assert "posterize" in (repository / "step-summary.md").read_text()
    assert (out / "junit.xml").is_file()

    # the method loses its content: the same config, another code
    source = (repository / "posterize.py").read_text()
    (repository / "posterize.py").write_text(source.replace("(flat + grain)", "(0 * flat + grain)"))
    shutil.rmtree(out / "runs")
    assert step("Run").returncode == 0
    done = step("Check")
    assert done.returncode == 1, f"{done.stdout}\n{done.stderr}"
    assert "::error" in done.stdout
    done = step("Report")
    assert done.returncode == 0, done.stderr
    upload = next(
        item["with"] for item in job["steps"] if "upload-artifact" in item.get("uses", "")
    )
    assert (repository / upload["path"] / "report" / "site" / "index.html").is_file()


def test_the_hooks_are_what_pre_commit_reads() -> None:
    hooks = yaml.safe_load((ROOT / ".pre-commit-hooks.yaml").read_text())
    assert [hook["id"] for hook in hooks] == ["bench-validate", "bench-check"]
    for hook in hooks:
        assert {"id", "name", "entry", "language"} <= set(hook)
        assert set(hook) <= {"id", "name", "description", "entry", "language", "types",
                             "pass_filenames", "require_serial", "stages"}  # fmt: skip
        assert hook["language"] == "python" and hook["pass_filenames"] is False
        assert f"id: {hook['id']}" in CI_PAGE


def test_the_hook_validates_the_file_before_it_is_installed(
    repository: Path, bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    text = re.search(r"<!-- file: \.pre-commit-config\.yaml -->\n```yaml\n(.*?)```", CI_PAGE, re.S)
    assert text
    (chosen,) = yaml.safe_load(text[1])["repos"][0]["hooks"]
    hooks = yaml.safe_load((ROOT / ".pre-commit-hooks.yaml").read_text())
    (entry,) = (hook["entry"] for hook in hooks if hook["id"] == chosen["id"])
    words = [*shlex.split(entry)[1:], *chosen["args"]]
    monkeypatch.chdir(repository)
    outcome = bench(*words)
    assert outcome.code == 0, outcome.stdout + outcome.stderr
    source = (repository / "posterize.py").read_text()
    (repository / "posterize.py").write_text(source.replace("clamp(-1, 1)", "mul(float('nan'))"))
    assert bench(*words).code == 1


def test_the_page_on_reproducibility_can_be_followed(
    tmp_path: Path, bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    followed = []
    for block in re.findall(r"<!-- run -->\n```sh\n(.*?)```", REPRODUCIBILITY, re.S):
        for words in commands(block):
            # the shell's part: names that match
            parts = [sorted(map(str, Path().glob(word))) if "*" in word else [word]
                     for word in words]  # fmt: skip
            outcome = bench(*(word for part in parts for word in part))
            assert outcome.code == 0, outcome.stderr
            followed.append(words[0])
    assert followed == ["run", "verify", "rerun"]
