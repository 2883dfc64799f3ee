from __future__ import annotations

import base64
import hashlib
import io
import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from benchmark.errors import DataError, RunDirectoryError, UsageError
from benchmark.run import RunDirectory
from reports.study.key import load_key
from reports.study.new import new_study
from tests.reports.study.raters import make_study
from tests.runs import write_run

HOSTILE = {"golden": "</script><script>alert(1)</script>", "x": '"><img src=x onerror=alert(2)>'}


def study_data(form: str) -> dict[str, Any]:
    found = re.search(r'<script type="application/json" id="study">(.*?)</script>', form, re.DOTALL)
    assert found
    data: dict[str, Any] = json.loads(found[1])
    return data


def pixels(url: str) -> Any:
    kind, _, data = url.partition(",")
    assert kind == "data:image/png;base64"
    with Image.open(io.BytesIO(base64.b64decode(data))) as image:
        assert image.info == {}  # no text, no time, no profile that could tell a method
        return np.asarray(image)


def new(runs: list[Path], out: Path, **options: Any) -> None:
    arguments: dict[str, Any] = {
        "n_pairs": None, "repeats": 4, "seed": 0, "title": None, "as_json": True, **options,
    }  # fmt: skip
    new_study(runs, out=out, **arguments)


def test_the_form_does_not_tell_the_methods(tmp_path: Path) -> None:
    key = make_study(tmp_path, methods=("ours", "zecon", "qzx-method"), n_images=6)
    folder = tmp_path / "study"
    form = (folder / "form.html").read_text()
    words = re.sub(r"data:image/png;base64,[A-Za-z0-9+/=]*", "", form)
    # pixels in base64 spell any short word by chance, so that they are compared on their own below
    for secret in (*(entry.method for entry in key.entries), *(e.config_hash for e in key.entries)):
        assert not re.search(rf"\b{secret}\b", words, re.IGNORECASE)
    assert "mini-64-v1" not in words
    for item in key.items.values():
        assert item.sample_id not in form
        assert item.image_id not in form
    assert sorted(path.name for path in folder.iterdir()) == ["form.html", "key.json"]


def test_every_item_shows_the_picture_that_the_key_names(tmp_path: Path) -> None:
    key = make_study(tmp_path, n_images=3)
    data = study_data((tmp_path / "study" / "form.html").read_text())
    runs = {path.parent.name: RunDirectory(path) for path in (tmp_path / "runs").glob("*/*/*/*")}
    assert [item["id"] for item in data["items"]] == list(key.items)
    for shown in data["items"]:
        item = key.items[shown["id"]]
        run = runs[key.entries[item.entry].method]
        np.testing.assert_array_equal(
            pixels(data["outputs"][shown["output"]]), run.load_image(item.sample_id)
        )
        np.testing.assert_array_equal(
            pixels(data["sources"][shown["source"]]), run.load_source(item.image_id)
        )
        assert shown["style"] == item.prompt
    assert {tuple(pair) for pair in data["twice"]} == {
        (item.repeat_of, name) for name, item in key.items.items() if item.repeat_of
    }


def test_the_same_call_makes_the_same_study(tmp_path: Path) -> None:
    key = make_study(tmp_path, n_images=4)
    new([tmp_path / "runs"], tmp_path / "again")
    for name in ("form.html", "key.json"):
        assert (tmp_path / "again" / name).read_bytes() == (tmp_path / "study" / name).read_bytes()
    form = (tmp_path / "study" / "form.html").read_bytes()
    assert key.form_sha256 == hashlib.sha256(form).hexdigest()
    new([tmp_path / "runs"], tmp_path / "other", seed=1)
    assert load_key(tmp_path / "other").study_id != key.study_id
    assert load_key(tmp_path / "other").items != key.items


def test_strings_from_outside_are_escaped(tmp_path: Path) -> None:
    write_run(tmp_path / "runs", n_images=2, prompts=HOSTILE)
    new([tmp_path / "runs"], tmp_path / "study", title="<i>A & B</i>")
    form = (tmp_path / "study" / "form.html").read_text()
    assert "alert(1)</script>" not in form
    assert "<img src=x" not in form
    assert "<i>A" not in form
    assert "&lt;i&gt;A &amp; B&lt;/i&gt;" in form
    assert {item["style"] for item in study_data(form)["items"]} == set(HOSTILE.values())


def test_two_configs_of_one_method_are_two_entries(tmp_path: Path) -> None:
    write_run(tmp_path / "runs", method_config={"t0": 5}, n_images=3)
    write_run(tmp_path / "runs", method_config={"t0": 6}, n_images=3)
    new([tmp_path / "runs"], tmp_path / "study")
    key = load_key(tmp_path / "study")
    assert [entry.method for entry in key.entries] == ["ours", "ours"]
    assert len({key.label(entry) for entry in key.entries}) == 2


def test_one_method_alone_is_allowed_and_said(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    make_study(tmp_path, methods=("ours",), repeats=0)
    assert "no comparison" in caplog.text
    assert "inattentive raters cannot be told" in caplog.text


@pytest.mark.parametrize(
    ("difference", "message"),
    [
        ({"protocol": "mini-64-v2"}, "differ in their protocol: mini-64-v1 and mini-64-v2"),
        ({"dataset": "ffhq"}, "differ in their dataset: afhq and ffhq"),
        ({"image_prefix": "photo"}, "differ in their source images"),
        ({"prompts": {"golden": "Golden"}}, "differ in their prompts: golden, red-bricks and gold"),
        ({"prompts": {"golden": "Gold", "red-bricks": "Red bricks"}}, "differ in their prompts"),
        ({"side": 32}, "differ in their resolution: 64 and 32"),
    ],
)
def test_runs_of_different_tasks_do_not_mix(
    tmp_path: Path, difference: dict[str, Any], message: str
) -> None:
    write_run(tmp_path / "runs", method="ours")
    write_run(tmp_path / "runs", method="zecon", **difference)
    with pytest.raises(UsageError, match=message):
        new([tmp_path / "runs"], tmp_path / "study")
    assert not (tmp_path / "study").exists()


def test_the_same_run_cannot_be_two_entries(tmp_path: Path) -> None:
    first, second = write_run(tmp_path / "a"), write_run(tmp_path / "b")
    with pytest.raises(UsageError, match="are the same run"):
        new([first, second], tmp_path / "study")


@pytest.mark.parametrize("state", [{"missing": 3}, {"unscored": True}])
def test_unfinished_runs_are_refused(tmp_path: Path, state: dict[str, Any]) -> None:
    run = write_run(tmp_path / "runs", **state)
    with pytest.raises(RunDirectoryError, match=re.escape(f"{run} is not complete")):
        new([run], tmp_path / "study")


def test_a_changed_or_missing_image_is_named(tmp_path: Path) -> None:
    run = write_run(tmp_path / "runs")
    image = run / "images" / "image0001__golden.png"
    original = image.read_bytes()
    image.write_bytes((run / "images" / "image0002__golden.png").read_bytes())
    with pytest.raises(RunDirectoryError, match=re.escape(str(image))):
        new([run], tmp_path / "study")
    image.unlink()
    with pytest.raises(RunDirectoryError, match=re.escape(str(image))):
        new([run], tmp_path / "study")
    image.write_bytes(original)
    new([run], tmp_path / "study")


@pytest.mark.parametrize("title", ["Is ZeCon good?", "study of OURS", "ours"])
def test_a_title_that_names_a_method_is_refused(tmp_path: Path, title: str) -> None:
    write_run(tmp_path / "runs", method="ours")
    write_run(tmp_path / "runs", method="zecon")
    with pytest.raises(UsageError, match="raters must not know the methods"):
        new([tmp_path / "runs"], tmp_path / "study", title=title)


def test_a_title_may_contain_a_method_in_another_word(tmp_path: Path) -> None:
    make_study(tmp_path, title="Colours and hours")


def test_a_study_is_never_written_over(tmp_path: Path) -> None:
    make_study(tmp_path)
    with pytest.raises(RunDirectoryError, match="exists already"):
        new([tmp_path / "runs"], tmp_path / "study")


def test_one_repeat_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="Use 0 or at least 2"):
        make_study(tmp_path, repeats=1)


def test_an_edited_key_is_seen(tmp_path: Path) -> None:
    make_study(tmp_path)
    path = tmp_path / "study" / "key.json"
    key = json.loads(path.read_text())
    key["items"]["p001"]["entry"] = 1 - key["items"]["p001"]["entry"]
    path.write_text(json.dumps(key))
    with pytest.raises(DataError, match="was edited"):
        load_key(tmp_path / "study")
    path.write_text(path.read_text()[:200])
    with pytest.raises(DataError, match="is damaged"):
        load_key(tmp_path / "study")
    path.unlink()
    with pytest.raises(DataError, match="bench study new"):
        load_key(tmp_path / "study")
