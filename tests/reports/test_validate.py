"""The conformance kit: good methods pass, and each defect is found by the check made for it."""

from __future__ import annotations

import random
import sys
from pathlib import Path
from textwrap import dedent

import numpy as np
import pytest
import torch

from benchmark import registry
from benchmark.errors import BenchError, UsageError
from reports.validate.checks import CHECKS
from reports.validate.command import findings
from reports.validate.load import load_method
from reports.validate.outcome import Finding
from reports.validate.resources import present_accelerators
from reports.validate.rng import global_seed
from tests.e2e.conftest import Bench, bench, bench_env, starter  # noqa: F401

GOOD = """
    import random
    import time
    import numpy as np
    import torch
    from pydantic import Field, field_serializer
    from torch import nn
    from benchmark.errors import UsageError
    from benchmark.interface import (
        Guidance, MethodCard, MethodConfig, StyleTransferMethod)

    class PaintConfig(MethodConfig):
        strength: float = Field(default=0.1, description="share of noise")
        {field}

    class Paint(StyleTransferMethod):
        Config = PaintConfig
        card = MethodCard(title={title!r}, paper="none", upstream=None, roles={roles!r})
        guidance = frozenset({{Guidance.{guidance}}})
        samples_side_by_side = {threads}

        def prepare(self, zoo):
            self.mixer = nn.utils.skip_init(nn.Conv2d, 3, 3, 1).requires_grad_(False)
            nn.init.dirac_(self.mixer.weight)
            nn.init.zeros_(self.mixer.bias)
            self.kept, self.calls = [], 0
            {prepare}

        def stylize(self, batch, noise):
            if batch.style_images is None and any(r.prompt is None for r in batch.requests):
                {refuse}
            images = batch.images
            draw = noise.normal("paint", images.shape[1:])
            {before}
            out = torch.tanh(self.mixer(images) + self.config.strength * draw)
            {after}
            return out
"""


def write(folder: Path, **parts: object) -> Path:
    """A method that keeps every rule, or breaks the one that a part breaks."""
    values = {"field": "pass", "title": "Paint", "roles": (), "guidance": "TEXT", "threads": False,
              "prepare": "pass", "refuse": "raise UsageError('a prompt is missing')",
              "before": "pass", "after": "pass", **parts}  # fmt: skip
    path = folder / "paint.py"
    path.write_text(dedent(GOOD).format(**values))
    return path


def by_name(found: list[Finding]) -> dict[str, Finding]:
    return {finding.name: finding for finding in found}


@pytest.mark.parametrize("guidance", ["TEXT", "IMAGE"])
def test_a_good_plug_in_passes_everything(tmp_path: Path, guidance: str) -> None:
    found = findings(str(write(tmp_path, guidance=guidance)))
    without_device = {"skipped"} if not present_accelerators() else {"passed"}
    assert [finding.name for finding in found] == [check.name for check in CHECKS]
    for finding in found:
        allowed = without_device if finding.name == "accelerators" else {"passed"}
        assert finding.status in allowed, finding


BROKEN: dict[str, tuple[dict[str, object], str]] = {
    "card": ({"title": " "}, "card.title is empty"),
    "config-documented": ({"field": "speed: int = 3"}, "no description: speed"),
    "config-serialisable": (
        {"field": "@field_serializer('strength')\n    def _s(self, v): return v * 2"},
        "after JSON and back the config differs",
    ),
    "runs": ({"before": "images = images.reshape(7, -1)"}, "RuntimeError: shape '[7, -1]'"),
    "shape": ({"after": "out = out[..., ::2, ::2]"}, "(1, 3, 32, 32) for images of shape"),
    "dtype": ({"after": "out = out.double()"}, "torch.float64"),
    "finite": ({"after": "out = torch.log(out)"}, "values are NaN or infinite"),
    "range": ({"after": "out = (out + 1) * 127.5"}, "beyond 1.1"),
    "determinism": (
        {"after": "self.calls += 1; out = out - 0.01 * self.calls"}, "called again",
    ),
    "rng-independent": (
        {"after": "g = torch.random.get_rng_state(); out = out * torch.rand(()); "
                  "torch.random.set_rng_state(g)"},
        "with other global seeds",
    ),
    "batch-composition": ({"after": "out = out / len(images)"}, "a batch of 3 against"),
    "batch-order": (
        {"after": "out = out[sorted(range(len(out)), key=lambda i: noise.sample_ids[i])]"},
        "in reversed order",
    ),
    "side-by-side": (
        {"threads": True, "before": "self.draw = draw; time.sleep(0.2); draw = self.draw"},
        "in 3 threads at once",
    ),
    "memory": ({"after": "self.kept.append(out)"}, "MiB of tensors alive"),
    "inputs-unchanged": ({"after": "images.mul_(0.5)"}, "changed: images"),
    "rng-untouched": ({"after": "np.random.rand(); random.random()"},
                      "numpy (in stylize), random (in stylize)"),
    "frozen-models": ({"prepare": "self.mixer.requires_grad_(True)"},
                      "requires_grad is on: mixer.weight, mixer.bias"),
}  # fmt: skip


@pytest.mark.parametrize("name", BROKEN)
def test_a_defect_fails_its_own_check_and_no_other(tmp_path: Path, name: str) -> None:
    parts, message = BROKEN[name]
    found = findings(str(write(tmp_path, **parts)))
    assert [finding.name for finding in found if finding.status == "failed"] == [name]
    assert message in by_name(found)[name].seen
    assert by_name(found)[name].remedy
    # what would only repeat the defect is skipped, and says for which one
    for finding in found:
        if finding.status == "skipped" and finding.name != "accelerators":
            assert "not tried, since it needs" in finding.seen


def test_every_check_has_a_defect_that_it_finds() -> None:
    assert {check.name for check in CHECKS} == {*BROKEN, "accelerators", "wrong-guidance"}


@pytest.mark.parametrize(
    ("name", "parts", "message"),
    [
        ("card", {"roles": ("painter",)}, "names 'painter', which the protocol does not fill"),
        ("card", {"prepare": "self.v = zoo.vgg()"}, "role 'vgg', which card.roles does not name"),
        ("runs", {"after": "return None"}, "stylize returned NoneType"),
        ("rng-untouched", {"prepare": "nn.Linear(2, 2)"}, "torch (in prepare)"),
        ("inputs-unchanged", {"after": "object.__setattr__(batch.requests[0], 'prompt', 'x')"},
         "changed: requests"),
        ("frozen-models", {"after": "self.mixer.bias.add_(0.0); self.mixer.bias.grad = draw[0, :, "
                                    "0, 0]"}, "a gradient is stored: mixer.bias"),
        ("config-serialisable",
         {"field": "salt: float = Field(default_factory=random.random, description='x')"},
         "have different JSON"),
    ],
)  # fmt: skip
def test_further_defects(tmp_path: Path, name: str, parts: dict[str, object], message: str) -> None:
    found = findings(str(write(tmp_path, **parts)))
    assert [finding.name for finding in found if finding.status == "failed"] == [name]
    assert message in by_name(found)[name].seen


@pytest.mark.parametrize(
    ("refuse", "seen"),
    [("pass", "returns a picture"), ("raise KeyError('prompt')", "KeyError: 'prompt'")],
)
def test_missing_guidance_that_is_not_refused_is_a_warning(
    tmp_path: Path, refuse: str, seen: str
) -> None:
    found = findings(str(write(tmp_path, refuse=refuse)))
    assert not [finding for finding in found if finding.status == "failed"]
    assert by_name(found)["wrong-guidance"].status == "warning"
    assert seen in by_name(found)["wrong-guidance"].seen


def test_pictures_from_0_to_1_are_a_warning(tmp_path: Path) -> None:
    found = by_name(findings(str(write(tmp_path, after="out = (out + 1) / 2"))))
    assert found["range"].status == "warning"
    assert "2 * x - 1" in found["range"].remedy


@pytest.mark.skipif(not present_accelerators(), reason="needs an accelerator")
def test_a_method_for_the_cpu_alone_fails_on_accelerators(tmp_path: Path) -> None:
    found = findings(str(write(tmp_path, after="out = out + torch.zeros(1, 3, 64, 64)")))
    assert [finding.name for finding in found if finding.status == "failed"] == ["accelerators"]


MODEL_FREE = ("identity", "procedural", "recolor")


@pytest.mark.parametrize("method", MODEL_FREE)
def test_built_in_methods_without_models_pass(method: str) -> None:
    assert not [finding for finding in findings(method) if finding.status == "failed"]


# one guided step, since more amplify the rounding in which kernels of a batch and a sample differ
QUICK: dict[str, tuple[str, ...]] = {
    "ours": ("respacing=12", "t0=1", "n_patches=4"),
    "ours-image": ("respacing=12", "t0=1", "n_patches=4"),
    "ours-multi": ("respacing=12", "t0=1", "n_patches=4"),
    "image-guided": ("respacing=12", "t0=1", "n_patches=4"),
    "zecon": ("respacing=12", "t0=1", "n_patches=4"),
    "diffusionclip": (
        "t0=200",
        "inversion_steps=3",
        "train_steps=2",
        "test_steps=3",
        "training_count=1",
        "rounds=1",
    ),
    "gatys": ("evaluations=3",),
    "adain": (),
    "clipstyler-fast": ("steps=2", "n_patches=2", "batch_size=1"),
    "vqgan-clip": ("iterations=2", "n_cuts=4"),
    "styleclip": ("inversion_steps=2", "steps=2"),
    "stylegan-nada": ("inversion_steps=2", "iterations=2"),
    "clipstyler": ("steps=3", "n_patches=4", "templates=false"),
    "diffuseit": (
        "respacing=12",
        "t0=2",
        "n_views=2",
        "divergence_above=1",
        "resamples=1",
        "max_restarts=0",
    ),
}


@pytest.mark.slow
@pytest.mark.parametrize("method", QUICK)
def test_built_in_methods_with_models_pass(
    method: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("STYLEBENCH_CACHE", str(tmp_path))
    found = findings(method, assignments=QUICK[method], dataset="afhq")
    assert not [finding for finding in found if finding.status == "failed"]


def test_no_built_in_method_is_left_out() -> None:
    assert set(registry.names(registry.METHODS)) == {*MODEL_FREE, *QUICK}


def test_global_states_are_given_back() -> None:
    before = torch.get_rng_state(), random.getstate(), np.random.get_state()[1].tolist()  # noqa: NPY002
    with global_seed(5) as touched:
        assert touched() == []
        torch.rand(1)
        random.random()
        assert touched() == ["torch", "random"]
    after = torch.get_rng_state(), random.getstate(), np.random.get_state()[1].tolist()  # noqa: NPY002
    assert torch.equal(before[0], after[0])
    assert before[1:] == after[1:]


PLUG_INS = {
    "syntax": ("class Paint(:\n", "line 1: invalid syntax"),
    "failing": ("x = 1\ny = 1 / 0\n", "line 2: the file fails when it is run: ZeroDivisionError"),
    "import": ("import no_such_package_x\n", "line 1: No module named 'no_such_package_x'"),
    "exit": ("raise SystemExit(0)\n", "line 1: the file fails when it is run: SystemExit"),
    "empty": ("", "defines no method"),
    "abstract": (
        "from benchmark.interface import StyleTransferMethod\n"
        "class Paint(StyleTransferMethod):\n    pass\n",
        "does not define stylize",
    ),
    "several": (
        "from benchmark.interface import StyleTransferMethod\n"
        "class A(StyleTransferMethod):\n    def stylize(self, batch, noise): ...\n"
        "class B(A):\n    pass\n",
        "defines several methods",
    ),
}


@pytest.mark.parametrize("name", PLUG_INS)
def test_plug_ins_that_cannot_be_used(tmp_path: Path, name: str) -> None:
    text, message = PLUG_INS[name]
    path = tmp_path / "plug.py"
    path.write_text(text)
    with pytest.raises(BenchError) as caught:
        load_method(str(path))
    assert message in str(caught.value)
    assert str(path) in str(caught.value)
    assert caught.value.exit_code == 2


def test_a_plug_in_leaves_no_trace(tmp_path: Path) -> None:
    path = write(tmp_path)
    import_path = list(sys.path)
    assert load_method(str(path)).method.__name__ == "Paint"
    assert load_method(f"{path}:Paint").name == f"{path}:Paint"
    assert sys.path == import_path
    assert [item.name for item in tmp_path.iterdir()] == ["paint.py"]
    # an edit counts at once, even within the same second and at the same length
    path.write_text(path.read_text().replace("class Paint(", "class Taint("))
    assert load_method(str(path)).method.__name__ == "Taint"


@pytest.mark.parametrize(
    ("method", "message"),
    [
        ("{folder}/nothing.py", "does not exist"),
        ("{folder}/paint.py:Brush", "has no class 'Brush'; its methods: Paint"),
        ("{folder}/paint.py:PaintConfig", "is not a StyleTransferMethod but the class PaintConfig"),
        ("{folder}/paint.py:np", "is not a StyleTransferMethod but module"),
        ("our", "Did you mean: ours"),
        ("{folder}", "A plug-in is given as path/to/file.py"),
    ],
)
def test_names_that_cannot_be_used(tmp_path: Path, method: str, message: str) -> None:
    write(tmp_path)
    with pytest.raises(UsageError) as caught:
        load_method(method.format(folder=tmp_path))
    assert message in str(caught.value)


@pytest.mark.parametrize("count", [0, 1, 999])
def test_a_number_of_images_that_cannot_be_had(tmp_path: Path, count: int) -> None:
    with pytest.raises(UsageError, match="allowed are 2 to 16"):
        findings(str(write(tmp_path)), images=count)


def test_the_command(bench: Bench, tmp_path: Path) -> None:  # noqa: F811
    good = bench("validate", f"{write(tmp_path)}:Paint", "--images", "2", "--json")
    assert good.code == 0, good.stderr
    assert good.json()["passed"] is True
    assert {check["name"] for check in good.json()["checks"]} == {check.name for check in CHECKS}
    bad = bench("validate", write(tmp_path, after="out = out.double()"), "--set", "strength=0")
    assert bad.code == 1
    assert "dtype failed: The output is float32. Seen: torch.float64. End stylize" in bad.stdout
    for arguments in (
        ("validate", tmp_path / "nothing.py"),
        ("validate", write(tmp_path), "--set", "strenght=1"),
        ("validate", "ours", "--images", "1"),
    ):
        wrong = bench(*arguments)
        assert wrong.code == 2
        assert wrong.stderr.startswith("error: ")
        assert "Traceback" not in wrong.stderr
