"""The paper's experiments: their files, the words of claims, the layout of results."""

from __future__ import annotations

import csv
import io
import itertools
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from pydantic import ValidationError
from scipy.stats import permutation_test

from benchmark import registry
from benchmark.config import load_protocol, method_config, protocol_names
from benchmark.errors import UsageError
from benchmark.guidance.query_attention import local_attention, select
from benchmark.run import RunDirectory
from benchmark.scoring import metric_classes
from benchmark.sweep.plan import Plan, PlannedRun
from benchmark.sweep.session import Session
from reports.experiments.charts import draw
from reports.experiments.claims import Decision, decide
from reports.experiments.measure import Measured, Row, Values, measure
from reports.experiments.model import (
    Experiment,
    chosen_experiments,
    experiment_names,
    load_experiment,
)
from reports.experiments.pictures import attended, write_sheets
from reports.experiments.runs import Choice, PlannedExperiment, plan_experiment
from reports.experiments.text import claims_csv, sentence, to_csv, to_markdown
from tests.runs import smooth_scores, write_run

NAMES = experiment_names()
MINI = "mini-64-v1"
IMAGES = 8


# --- the files ----------------------------------------------------------------------------------


def test_the_names_are_those_of_the_issue() -> None:
    assert [
        *(f"table-4-{number}" for number in range(1, 5)),
        *(f"figure-4-{number}" for number in range(16, 20)),
    ] == NAMES
    assert len(chosen_experiments("all")) == 8
    with pytest.raises(UsageError, match=r"unknown experiment 'table-4-9'.*Did you mean: table-4"):
        chosen_experiments("table-4-9")


@pytest.mark.parametrize("name", NAMES)
def test_every_variant_is_valid_under_every_protocol(name: str) -> None:
    experiment = load_experiment(name)
    assert experiment.id == name
    for protocol in map(load_protocol, protocol_names()):
        for variant in experiment.variants:
            method = registry.load(registry.METHODS, variant.method)
            values = variant.settings
            config = method_config(
                variant.method, method, protocol, None, (),
                [(key, value, name) for key, value in values.items()],
            )  # fmt: skip
            for key, value in values.items():
                assert getattr(config, key) == value
        for column in experiment.columns:
            if column.metric is not None:
                assert column.metric in protocol.metrics


@pytest.mark.parametrize("name", NAMES)
def test_what_is_reported_is_in_the_papers_table(name: str) -> None:
    experiment = load_experiment(name)
    table = experiment.reported
    rows = {variant.reported for variant in experiment.variants} - {None}
    quantities = {
        column.reported_for(dataset)
        for column in experiment.columns
        for dataset in experiment.datasets
    } - {None}
    if table is None:
        assert not rows and not quantities
        return
    assert rows == set(table.values)
    assert quantities == set(table.units)


@pytest.mark.parametrize("name", NAMES)
def test_eight_images_can_decide_every_claim(name: str) -> None:
    """The smallest p of 8 images is 1/256, which Holm multiplies by the claims."""
    assert len(load_experiment(name).claims) * 2 * 0.5**IMAGES < 0.05


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"variants": [{"id": "a", "label": "A", "method": "ours"}] * 2}, "'a' is there twice"),
        ({"columns": [{"id": "c", "title": "C"}]}, "a metric or a quantity"),
        ({"layout": "curves"}, "needs series and x"),
        ({"claims": [{"than": ["z"]}]}, "unknown"),
        ({"claims": [{"column": "z"}]}, "unknown"),
        ({"claims": [{"than": ["a"]}]}, "compares a variant with itself"),
        ({"claims": [{"dataset": "ffhq"}]}, "unknown dataset"),
        ({"datasets": ["afhq", "ffhq"]}, "on which dataset"),
        ({"colour": "red"}, "Extra inputs"),
    ],
)
def test_a_wrong_file_is_refused(changes: dict[str, Any], message: str) -> None:
    claim = {"text": "T", "basis": "default", "column": "c", "of": ["a"], "says": "higher",
             "than": ["b"]}  # fmt: skip
    good: dict[str, Any] = {
        "id": "table-9-9", "title": "T", "about": "A", "layout": "table", "datasets": ["afhq"],
        "variants": [{"id": name, "label": name, "method": "ours"} for name in "ab"],
        "columns": [{"id": "c", "title": "C", "metric": "clip_score"}], "claims": [claim],
    }  # fmt: skip
    assert Experiment.model_validate(good).name == "Table 9-9"
    if "claims" in changes:
        changes = {"claims": [claim | changes["claims"][0]]}
    with pytest.raises(ValidationError, match=message):
        Experiment.model_validate(good | changes)


@pytest.mark.slow
def test_all_of_them_fit_into_an_hour_and_share_runs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Half of the images, 6 s a sample on mini-64-v1; the default config is made once for all."""
    monkeypatch.setenv("STYLEBENCH_CACHE", str(tmp_path / "cache"))
    session = Session()
    choice = Choice(load_protocol(MINI), None, 8, None, "cpu", tmp_path / "runs")
    plans = [
        plan_experiment(experiment, choice, session) for experiment in chosen_experiments("all")
    ]
    runs = {run.config_hash: run for planned in plans for run in planned.plan.runs}
    assert sum(len(run.sample_ids) for run in runs.values()) * 6 <= 60 * 60
    document = (Path(__file__).parents[2] / "docs" / "paper-experiments.md").read_text("utf-8")
    seen: set[str] = set()
    for planned in plans:
        own = {run.config_hash for run in planned.plan.runs}
        beyond = sum(len(runs[name].sample_ids) for name in own - seen)
        seen |= own
        (line,) = [line for line in document.splitlines()
                   if line.startswith(f"| `{planned.experiment.id}`")]  # fmt: skip
        assert line.endswith(f"| {planned.plan.n_samples} | {beyond} |")
    hashes = {
        planned.experiment.id: {run.config_hash for run in planned.plan.runs} for planned in plans
    }
    ablations = (
        "table-4-2",
        "table-4-3",
        "table-4-4",
        "figure-4-16",
        "figure-4-17",
        "figure-4-18",
        "figure-4-19",
    )
    assert len(set.intersection(*(hashes[name] for name in ablations))) == 1
    for planned in plans:
        assert set(planned.run_of) == {
            (dataset, variant.id)
            for dataset in planned.experiment.datasets
            for variant in planned.experiment.variants
        }
        for (dataset, variant), run in planned.run_of.items():
            assert run.resolved.dataset == dataset
            chosen = next(v for v in planned.experiment.variants if v.id == variant)
            assert run.resolved.method == chosen.method
            for key, value in chosen.settings.items():
                assert run.resolved.method_config[key] == value
            images = [sample.rpartition("__")[0] for sample in run.sample_ids[: run.batch_size]]
            assert len(set(images)) == 1, "a chunk is one image"
    assert len(hashes["table-4-3"]) == 3


# --- the words ----------------------------------------------------------------------------------

Make = Callable[[str, int], float]


def _values(numbers: Sequence[float]) -> Values:
    return Values(
        np.asarray(numbers, dtype=np.float64), tuple(f"i{k}" for k in range(len(numbers)))
    )


def _made_up(name: str, columns: Mapping[str, Mapping[str, Values]]) -> Measured:
    """Numbers by dataset/variant and column, without runs."""
    experiment = load_experiment(name)
    rows = {
        dataset: tuple(
            Row(variant, None, columns.get(f"{dataset}/{variant.id}", {}), {}, {})
            for variant in experiment.variants
        )
        for dataset in experiment.datasets
    }
    return Measured(experiment, MINI, rows, ())


def _table_4_3(content: Mapping[str, float], spread: float = 0.01, n: int = IMAGES) -> Measured:
    """Variants of Table 4-3 with given means of content; style does not differ."""
    rng = np.random.default_rng(3)
    image = rng.normal(0, 0.2, n)
    return _made_up(
        "table-4-3",
        {
            f"imagenet/{variant}": {
                "content": _values(mean + image + rng.normal(0, spread, n)),
                "style": _values(image),
            }
            for variant, mean in content.items()
        },
    )


def _words(measured: Measured) -> list[str]:
    return [decision.word for decision in decide(measured)]


def test_words_follow_the_planted_differences() -> None:
    assert _words(_table_4_3({"global": 0.5, "local": 0.7, "both": 0.6})) == [
        "supported", "contradicted", "undecided at this n"
    ]  # fmt: skip
    assert (
        _words(_table_4_3({"global": 0.5, "local": 0.5, "both": 0.5}, spread=0.2))
        == ["undecided at this n"] * 3
    )


def test_two_images_decide_nothing_however_large_the_difference() -> None:
    few = _table_4_3({"global": 0.1, "local": 0.1, "both": 0.9}, n=2)
    assert _words(few) == ["undecided at this n"] * 3
    told = sentence(few, decide(few)[0])
    assert "fewer than 6 images can decide nothing, about 6 would show this one" in told
    six = _table_4_3({"global": 0.1, "local": 0.1, "both": 0.9}, n=6)
    assert _words(six)[:2] == ["supported"] * 2
    five = _table_4_3({"global": 0.1, "local": 0.1, "both": 0.9}, n=5)
    assert _words(five)[:2] == ["undecided at this n"] * 2
    one = decide(_table_4_3({"global": 0.1, "local": 0.1, "both": 0.9}, n=1))
    assert [decision.p_supported for decision in one] == [None] * 3
    assert "p " not in sentence(few, one[0]).partition("n = 1")[2]


def test_a_run_that_is_missing_leaves_its_claims_undecided() -> None:
    measured = _table_4_3({"global": 0.5, "both": 0.6})
    decisions = decide(measured)
    assert [d.word for d in decisions] == ["supported", *["undecided at this n"] * 2]
    assert decisions[1].missing == ("Local",)
    assert "not made: Local" in sentence(measured, decisions[1])


def test_a_claim_over_several_pairs_needs_each_and_falls_by_one() -> None:
    def content(**means: float) -> list[Decision]:
        rng = np.random.default_rng(1)
        return decide(
            _made_up(
                "table-4-4",
                {
                    f"imagenet/{variant}": {
                        "content": _values(mean + rng.normal(0, 0.01, IMAGES)),
                        "style": _values(rng.normal(0, 1, IMAGES)),
                    }
                    for variant, mean in means.items()
                },
            )
        )

    best = content(con=0.5, mse=0.4, vgg=0.3, **{"mse-vgg": 0.45, "all": 0.6})[0]
    assert best.word == "supported"
    assert best.pair is not None and best.pair.than == "con"  # the nearest rival decides
    level = content(con=0.6, mse=0.4, vgg=0.3, **{"mse-vgg": 0.45, "all": 0.6})[0]
    assert level.word == "undecided at this n"
    beaten = content(con=0.5, mse=0.4, vgg=0.8, **{"mse-vgg": 0.45, "all": 0.6})[0]
    assert beaten.word == "contradicted"
    assert beaten.pair is not None and beaten.pair.than == "vgg"


@pytest.mark.parametrize("seed", range(5))
def test_p_values_are_scipys_under_holm(seed: int) -> None:
    rng = np.random.default_rng(seed)
    data = {name: rng.normal(mean, 0.2, IMAGES) for name, mean in
            (("global", 0.0), ("local", 0.1), ("both", 0.15))}  # fmt: skip
    measured = _made_up(
        "table-4-3",
        {f"imagenet/{k}": {"content": _values(v), "style": _values(-v)} for k, v in data.items()},
    )

    def p(a: str, b: str, sign: int) -> float:
        found = permutation_test(
            (sign * (data[a] - data[b]),), np.sum, permutation_type="samples",
            alternative="greater", n_resamples=np.inf,
        )  # fmt: skip
        return float(found.pvalue)

    support = [p("both", "global", 1), p("both", "local", 1),
               max(p("both", "global", -1), p("both", "local", -1))]  # fmt: skip
    pairs = np.stack([data["global"] - data["both"], data["local"] - data["both"]])
    statistic = lambda x: (x.sum(1) / np.sqrt((x**2).sum(1))).max()  # noqa: E731
    flips = [statistic(pairs * signs) for signs in itertools.product((1, -1), repeat=IMAGES)]
    style = float(np.mean(np.array(flips) >= statistic(-pairs) - 1e-9))
    oppose = [p("both", "global", -1), p("both", "local", -1), style]

    def holm(raw: list[float]) -> list[float]:
        order = np.argsort(raw, kind="stable")
        stepped = np.maximum.accumulate([(3 - k) * raw[i] for k, i in enumerate(order)])
        return np.minimum(stepped, 1.0)[np.argsort(order, kind="stable")].tolist()

    found = decide(measured)
    assert [d.p_supported for d in found] == pytest.approx(holm(support))
    assert [d.p_contradicted for d in found] == pytest.approx(holm(oppose))


def test_without_differences_a_wrong_word_is_rare() -> None:
    """At most 5 % for each of the two words; 27 of 300 are reached in 1 of 1,000 cases."""
    rng = np.random.default_rng(11)
    experiment = load_experiment("table-4-4")
    wrong = {"supported": 0, "contradicted": 0}
    for _ in range(300):
        image = rng.normal(0, 1, IMAGES)
        numbers = {
            f"imagenet/{variant.id}": {
                column: _values(image + rng.normal(0, 0.3, IMAGES))
                for column in ("content", "style")
            }
            for variant in experiment.variants
        }
        words = _words(_made_up("table-4-4", numbers))
        for word in wrong:
            wrong[word] += word in words
    assert max(wrong.values()) < 27


# --- the layout ---------------------------------------------------------------------------------


def _planned(
    name: str, out: Path, means: Mapping[str, float], *, missing: Sequence[str] = ()
) -> PlannedExperiment:
    """An experiment over synthetic runs whose metrics all have a given mean by variant."""
    experiment = load_experiment(name)
    metrics = [column.metric for column in experiment.columns if column.metric]
    run_of: dict[tuple[str, str], PlannedRun] = {}
    for dataset, variant in itertools.product(experiment.datasets, experiment.variants):

        def scores(
            metric: str, image: str, prompt: str, mean: float = means.get(variant.id, 0.5)
        ) -> float:
            return mean + 0.01 * smooth_scores(0.0)(metric, image, prompt)

        path = write_run(
            out, method=variant.method, dataset=dataset, n_images=IMAGES, metrics=metrics,
            scores=scores, method_config={"variant": variant.id},
            seconds=2.0 + means.get(variant.id, 0.5),
            missing=3 if variant.id in missing else 0,
        )  # fmt: skip
        manifest = RunDirectory(path).read_manifest()
        run_of[dataset, variant.id] = PlannedRun(
            _Options(out), manifest.config, tuple(manifest.sample_ids), 8, ({},)  # type: ignore[arg-type]
        )  # fmt: skip
    return PlannedExperiment(experiment, Plan(name, tuple(run_of.values())), run_of)


class _Options:
    """All that a finished run's path needs of its options."""

    def __init__(self, out: Path) -> None:
        self.out = out


@pytest.fixture(scope="module")
def gan(tmp_path_factory: pytest.TempPathFactory) -> tuple[Measured, list[Decision]]:
    means = {
        "ours": 0.7,
        "styleclip": 0.6,
        "stylegan-nada": 0.5,
        "vqgan-clip": 0.4,
        "clipstyler": 0.3,
    }
    measured = measure(_planned("table-4-1", tmp_path_factory.mktemp("gan"), means), MINI)
    return measured, decide(measured)


def test_measured_cells_are_the_means_of_the_scores(gan: tuple[Measured, list[Decision]]) -> None:
    measured, _ = gan
    lines = list(csv.DictReader(io.StringIO(to_csv(measured))))
    assert len(lines) == 5 * 5
    for line in lines:
        row = measured.row(line["dataset"], line["variant"])
        assert row.run is not None
        if line["column"] == "time":
            expected = sum(
                record.seconds for record in RunDirectory(row.run.path).read_chunks()
            ) / (2 * IMAGES)
            assert int(line["n_clusters"]) == 2  # chunks of 8
        else:
            expected = float(np.mean(row.run.scores[line["measures"]].values))
            assert int(line["n_clusters"]) == IMAGES
        assert float(line["mean"]) == pytest.approx(expected)
        assert float(line["low"]) <= float(line["mean"]) <= float(line["high"])
    styleclip = {
        line["column"]: line["reported"] for line in lines if line["variant"] == "styleclip"
    }
    assert styleclip == {
        "content": "88.4", "style": "56.2", "clip": "0.092", "face-id": "0.375", "time": ""
    }  # fmt: skip


def test_the_markdown_has_the_papers_layout_and_marks_what_is_reported(
    gan: tuple[Measured, list[Decision]],
) -> None:
    measured, decisions = gan
    text = to_markdown(measured, decisions, {"A picture": "table-4-1.png"}, "Made by a test.")
    table = [line for line in text.splitlines() if line.startswith("| ")]
    assert [line.split(" | ")[0].removeprefix("| ") for line in table[2:]] == [
        "StyleCLIP", "StyleGAN-NADA", "VQGAN-CLIP", "CLIPstyler", "Ours"
    ]  # fmt: skip
    head, _, first = (line.strip("| ").split(" | ") for line in table[:3])
    assert len({line.count("|") for line in table}) == 1
    cells = dict(zip(["", *head], first, strict=True))
    assert cells["*reported Content* (of 100)"] == "*88.40*"
    assert cells["*reported Face ID*"] == "*0.375*"
    assert cells["Content ↑ (`edge_agreement`)"].startswith("0.605 [0.60")
    assert "were not measured here" in text
    assert "> celebahq: Stand-in images of a test." in text
    assert "![A picture](table-4-1.png)" in text
    assert [d.word for d in decisions] == [
        "supported", "supported", "supported", "contradicted", "supported"
    ]  # fmt: skip
    assert "- **supported**: StyleCLIP stays nearer to the person than ours does (from" in text
    found = list(csv.DictReader(io.StringIO(claims_csv(measured, decisions))))
    assert [line["word"] for line in found] == [d.word for d in decisions]


def test_an_incomplete_run_is_shown_as_not_made(tmp_path: Path) -> None:
    planned = _planned("figure-4-17", tmp_path, {"ddim-ddpm": 0.6}, missing=["ddpm-ddpm"])
    measured = measure(planned, MINI)
    text = to_markdown(measured, decide(measured), {}, "")
    (line,) = [line for line in text.splitlines() if line.startswith("| DDPM, DDPM")]
    assert line.endswith("| n/a | n/a | n/a | n/a | n/a | not made |")
    assert "not made: DDPM, DDPM" in text


@pytest.mark.parametrize("name", ["table-4-2", "figure-4-18", "figure-4-19"])
def test_charts_and_sheets_are_pictures(name: str, tmp_path: Path) -> None:
    planned = _planned(name, tmp_path / "runs", {}, missing=["n96", "start-40", "zecon"])
    measured = measure(planned, MINI)
    draw(measured, tmp_path / "chart.png")
    with Image.open(tmp_path / "chart.png") as chart:
        assert chart.size[0] > 800
        assert len(chart.convert("RGB").getcolors(2**20) or ()) > 10
    sheets = write_sheets(measured, tmp_path)
    assert len(sheets) == 2 * len(measured.experiment.datasets)  # prompts
    for sheet in sheets.values():
        with Image.open(tmp_path / sheet) as picture:
            made = sum(
                row.run is not None for row in measured.rows[measured.experiment.datasets[0]]
            )
            assert picture.size[0] > 192 * (made + 1)


def test_metrics_of_columns_exist() -> None:
    for experiment in chosen_experiments("all"):
        names = {column.metric for column in experiment.columns if column.metric}
        assert len(metric_classes(sorted(names))) == len(names)


# --- attention maps -----------------------------------------------------------------------------


@settings(max_examples=20, deadline=None)
@given(st.integers(3, 6), st.integers(3, 6), st.integers(1, 8), st.sampled_from([1, 3, 5]))
def test_what_anchors_look_at_is_where_their_weights_are(
    height: int, width: int, anchors: int, window: int
) -> None:
    generator = torch.Generator().manual_seed(height * 100 + width * 10 + anchors)
    features = torch.randn(2, 4, height, width, generator=generator)
    routed = select(features, "local_global", anchors)
    assert attended(routed, height, width).sum(1) == pytest.approx([1.0, 1.0])
    local = select(features, "local", anchors, window=window)
    found = attended(local, height, width).view(2, height, width)
    weights = local_attention(features, window, local.positions, "spatial")
    expected = np.zeros((2, height, width))
    count = local.positions.shape[1]
    for image, place in itertools.product(range(2), range(count)):
        row, column = divmod(int(local.positions[image, place]), width)
        for step in range(window * window):
            y, x = row + step // window - window // 2, column + step % window - window // 2
            if 0 <= y < height and 0 <= x < width:
                expected[image, y, x] += float(weights[image, place, step]) / count
    assert np.allclose(found.numpy(), expected, atol=1e-6)
