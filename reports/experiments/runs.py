"""The runs of an experiment, planned as a sweep's."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from benchmark import registry
from benchmark.config import Protocol
from benchmark.launch import RunOptions
from benchmark.sweep.plan import Plan, PlannedRun, RunRequest, plan_runs
from benchmark.sweep.session import Session
from benchmark.targets import TargetOptions
from reports.experiments.model import Experiment

Place = tuple[str, str]  # dataset, variant


@dataclass(frozen=True)
class Choice:
    """What the command line chooses for every run."""

    protocol: Protocol
    prompts: str | None
    limit: int | None
    weights_dir: Path | None
    accelerator: str
    runs: Path


@dataclass(frozen=True)
class PlannedExperiment:
    """An experiment and its runs; variants of equal config share one."""

    experiment: Experiment
    plan: Plan
    run_of: Mapping[Place, PlannedRun]


def plan_experiment(experiment: Experiment, choice: Choice, session: Session) -> PlannedExperiment:
    """Resolve the runs of an experiment.

    Raises:
        UsageError: a method, dataset, key or value that does not exist under the protocol.
    """
    requests: dict[Place, RunRequest] = {}
    for dataset in experiment.datasets:
        for variant in experiment.variants:
            place = f"{experiment.id}.yaml: {variant.id}"
            values = variant.settings
            options = RunOptions(
                method=variant.method, dataset=dataset, protocol=choice.protocol.id,
                target=TargetOptions(prompts=choice.prompts), source_prompt=None, guide=None,
                images=None, limit=choice.limit, on_bad_image="fail", seed=0, config=None,
                assignments=(), weights_dir=choice.weights_dir, out=choice.runs,
                existing="resume", accelerator=choice.accelerator, devices="1", strategy="auto",
                num_nodes=1, precision="32-true", batch_size=_batch_size(dataset, choice),
                settings=tuple((key, value, place) for key, value in values.items()),
            )  # fmt: skip
            requests[dataset, variant.id] = RunRequest(options, values, place)
    plan = plan_runs(experiment.id, list(requests.values()), session)
    # requests with the same method, dataset and values are the same run
    by_request = {
        (run.resolved.dataset, run.resolved.method, repr(sorted(settings.items()))): run
        for run in plan.runs
        for settings in run.settings
    }
    return PlannedExperiment(
        experiment,
        plan,
        {
            place: by_request[
                request.options.dataset,
                request.options.method,
                repr(sorted(request.settings.items())),
            ]
            for place, request in requests.items()
        },
    )


def _batch_size(dataset: str, choice: Choice) -> int:
    """The prompts of one image, or as many of them as the protocol's chunk takes.

    A chunk is then one image, so that seconds of chunks can be compared image by image.
    """
    entry = registry.load(registry.DATASETS, dataset)
    protocol = choice.protocol
    selection = choice.prompts or protocol.default_prompts
    prompts = entry.prompts(protocol.prompt_set, selection, None)
    return min(protocol.batch_size, len(prompts))
