"""``bench run``: resolve, predict, score, derive."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Mapping
from contextlib import nullcontext
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal

from benchmark import registry
from benchmark.config import Protocol, ResolvedRun, load_protocol, method_config
from benchmark.environment import (
    command_line,
    git_revision,
    hardware,
    is_rank_zero,
    package_versions,
)  # fmt: skip
from benchmark.errors import BenchError, UsageError
from benchmark.finish import RunResult, finish_run, quiet_libraries
from benchmark.interface import StyleTransferMethod
from benchmark.ranks import RankLostError, RankWatch, started_from_outside, still_missing
from benchmark.records import Manifest
from benchmark.run import Existing, RunDirectory
from benchmark.scoring import metric_classes
from benchmark.smoke import SmokeWatch, few_steps, one_prompt, smoke_options
from benchmark.targets import TargetOptions, Targets, check_guidance, choose_targets
from benchmark.zoo import ModelZoo
from benchmark.zoo.random_weights import RandomZoo
from benchmark.zoo.registry import model_card

log = logging.getLogger(__name__)

ZooOf = Callable[[Mapping[str, str], Path | None], ModelZoo]


class InterruptedRunError(BenchError):
    """The user stopped the run."""

    exit_code = 130


@dataclass(frozen=True)
class RunOptions:
    """The command line of ``bench run``."""

    method: str
    dataset: str
    protocol: str
    target: TargetOptions
    source_prompt: str | None
    guide: str | None
    images: Path | None
    limit: int | None
    on_bad_image: Literal["fail", "skip"]
    seed: int
    config: Path | None
    assignments: tuple[str, ...]
    weights_dir: Path | None
    out: Path
    existing: Existing
    accelerator: str
    devices: str
    strategy: str
    num_nodes: int
    precision: str
    batch_size: int | None
    source: str | None = None
    samples: str = "paper"
    images_within: str | None = None
    # (key, value, where it was written) of the method's config, after --set
    settings: tuple[tuple[str, Any, str], ...] = ()
    # random weights, one sample: see benchmark.smoke
    smoke: bool = False
    # fused kernels: see benchmark.zoo.compiled
    compile: bool = False


@dataclass(frozen=True)
class _Plan:
    """A run, resolved down to its samples and models."""

    options: RunOptions
    protocol: Protocol
    method: StyleTransferMethod
    zoo: ModelZoo
    dataset: Any
    source: Any
    frozen: Any
    targets: Targets
    resolved: ResolvedRun
    batch_size: int
    watch: SmokeWatch | None

    def data_module(self) -> Any:
        """The samples in chunks, as the dataset's entry point makes them."""
        return self.dataset.data_module(
            self.frozen, self.targets.prompts, source_prompt=self.resolved.source_prompt,
            batch_size=self.batch_size, styles=self.targets.styles, mixtures=self.targets.mixtures,
        )  # fmt: skip


def run(options: RunOptions, zoo_of: ZooOf = ModelZoo) -> RunResult | None:
    """Resolve, predict, score, derive.

    Args:
        options: what to run.
        zoo_of: makes the zoo of (model id by role, weights folder); whoever runs several times may
            share the models.

    Returns:
        The result on the first rank, None on the others.

    Raises:
        BenchError: with a remedy; nothing finished is lost.
    """
    quiet_libraries()
    options = smoke_options(options) if options.smoke else options
    return execute(resolve(options, zoo_of))


def execute(plan: _Plan) -> RunResult | None:
    """Predict, score and derive what was resolved; returns and raises as :func:`run`."""
    options = plan.options
    directory = RunDirectory(plan.resolved.directory(options.out))
    module = plan.data_module()
    if not is_rank_zero():
        _predict(plan, directory, module)
        return None
    with directory.lock():
        manifest = _manifest(plan, module)
        directory.open(manifest, options.existing)
        directory.remove_staging()
        directory.write_sources(plan.frozen.pixels)
        shown = plan.targets.pictures()
        if shown:
            directory.write_styles(shown)
        started = time.perf_counter()
        try:
            _predict(plan, directory, module)
        except (KeyboardInterrupt, SystemExit) as stop:
            manifest.status = "partial"
            directory.write_manifest(manifest)
            missing = directory.missing_chunks(module.chunk_count)
            raise InterruptedRunError(
                f"stopped. {still_missing(directory, module.chunk_count, missing)}"
            ) from stop
        except RankLostError:
            manifest.status = "partial"
            directory.write_manifest(manifest)
            raise
        manifest.timings["predict_wall_s"] = time.perf_counter() - started
        if plan.watch is None:
            return finish_run(directory, manifest, plan.protocol, plan.zoo)
        with plan.watch.while_scoring(plan.zoo.device):
            result = finish_run(directory, manifest, plan.protocol, plan.zoo)
        report = plan.watch.report(plan.zoo, options.method, plan.resolved.method_config)
        directory.write_json(directory.path / "smoke.json", report)
        return replace(result, smoke=report)


def resolve(options: RunOptions, zoo_of: ZooOf = ModelZoo) -> _Plan:
    """From the command line to samples, models and the config hash. Nothing is written yet."""
    protocol = load_protocol(options.protocol)
    method_class = _method_class(options.method)
    watch = SmokeWatch(protocol) if options.smoke else None
    protocol = few_steps(protocol, options.method, method_class) if watch else protocol
    config = method_config(
        options.method, method_class, protocol, options.config, options.assignments,
        options.settings,
    )  # fmt: skip
    check_guidance(options.method, method_class, options.target, protocol)
    dataset = registry.load(registry.DATASETS, options.dataset)
    targets = choose_targets(options.target, protocol, dataset)
    targets = one_prompt(targets) if watch else targets
    source_prompt = options.source_prompt or dataset.card.source_prompt
    models = _models(protocol, options.dataset, options.guide, options.method, method_class)
    _check_domain(protocol, models, options.method, method_class, dataset)
    zoo = (RandomZoo if watch else zoo_of)(models, options.weights_dir)
    _check_prompts(zoo, [*targets.texts, source_prompt])
    usual = protocol.source if options.images is None else "embedded"
    source = dataset.source(
        options.images, options.source or usual, options.samples, options.images_within
    )
    frozen = dataset.freeze(
        source, size=protocol.resolution, resize_filter=protocol.resize_filter,
        limit=options.limit, on_bad_image=options.on_bad_image,
    )  # fmt: skip
    method = method_class(config)
    used = zoo.verified_hashes(method_class.card.roles)
    resolved = ResolvedRun(
        protocol=protocol.id,
        method=options.method,
        method_config=config.model_dump(mode="json"),
        dataset=options.dataset,
        stand_in=source.stand_in,
        fingerprint=frozen.fingerprint,
        resolution=protocol.resolution,
        prompts=tuple(targets.prompts),
        source_prompt=source_prompt,
        seed=options.seed,
        precision=options.precision,
        models={role: facts["sha256"] for role, facts in used.items()},
    )
    return _Plan(
        options, protocol, method, zoo, dataset, source, frozen, targets, resolved,
        options.batch_size or protocol.batch_size, watch,
    )  # fmt: skip


def _method_class(name: str) -> type[StyleTransferMethod]:
    found = registry.load(registry.METHODS, name)
    if not (isinstance(found, type) and issubclass(found, StyleTransferMethod)):
        raise BenchError(f"the entry point of method {name!r} is not a StyleTransferMethod class")
    return found


def _models(
    protocol: Protocol, dataset: str, guide: str | None, name: str,
    method: type[StyleTransferMethod],
) -> dict[str, str]:  # fmt: skip
    """The protocol's models for a dataset by role, with the guide that was asked for."""
    models = protocol.models_for(dataset)
    if guide is None:
        return models
    if "guide" not in method.card.roles:
        raise UsageError(f"--guide {guide}: {name} is not guided by a CLIP")
    if model_card(guide).kind != "clip":
        raise UsageError(f"--guide {guide} is a model of kind {model_card(guide).kind!r}, not clip")
    if guide == models.get("judge"):
        raise UsageError(
            f"--guide {guide} scores the outputs under {protocol.id}: what guides a method must "
            f"not judge it"
        )
    return {**models, "guide": guide}


def _check_domain(
    protocol: Protocol, models: dict[str, str], name: str, method: type[StyleTransferMethod],
    dataset: Any,
) -> None:  # fmt: skip
    """Refuse content that no generator of the protocol draws for the method."""
    for role in method.card.roles:
        drawn = model_card(models[role]).domains if role in models else None
        if drawn and dataset.card.domain not in drawn:
            cards = [model_card(model) for model in protocol.models_of(role)]
            all_drawn = dict.fromkeys(domain for card in cards for domain in card.domains or ())
            raise UsageError(
                f"{name} works on what {models[role]} draws, which is {', '.join(drawn)}, and "
                f"{dataset.card.name} shows {dataset.card.domain}: choose a dataset of "
                f"{' or '.join(all_drawn)} (`bench list datasets`)"
            )


def _check_prompts(zoo: ModelZoo, texts: list[str]) -> None:
    """Refuse prompts that an encoder cannot read before anything is written or computed."""
    for role in ("guide", "judge"):
        if role in zoo.roles:
            zoo.clip(role).encode_text(texts)


def _manifest(plan: _Plan, module: Any) -> Manifest:
    options = plan.options
    return Manifest(
        smoke=options.smoke,
        config=plan.resolved,
        config_hash=plan.resolved.config_hash,
        stand_in_note=plan.dataset.card.stand_in_note if plan.source.stand_in else None,
        dataset={
            "card": plan.dataset.card.name,
            "card_version": plan.dataset.card.version,
            "domain": plan.dataset.card.domain,
            "source": plan.source.describe() | plan.frozen.origin,
            "styles": plan.targets.origin,
            "images": len(plan.frozen.images),
            "skipped": list(plan.frozen.skipped),
        },
        models=plan.zoo.verified_hashes(_roles(plan)),
        sample_ids=[request.sample_id for request in module.samples],
        batch_size=plan.batch_size,
        execution={
            "accelerator": options.accelerator,
            "devices": options.devices,
            "strategy": options.strategy,
            "num_nodes": options.num_nodes,
            "compile": options.compile,
        },
        versions=package_versions()
        | registry.distributions(
            {
                registry.METHODS: [options.method],
                registry.DATASETS: [options.dataset],
                registry.METRICS: plan.protocol.metrics_of(plan.resolved.shown),
            }
        ),
        git_revision=git_revision(),
        hardware=hardware(),
        command=command_line(),
        started=datetime.now(UTC).isoformat(timespec="seconds"),
    )


def _roles(plan: _Plan) -> list[str]:
    """Of the models that the method and the protocol's metrics read."""
    metrics = plan.protocol.metrics_of(plan.resolved.shown)
    judges = {role for cls in metric_classes(metrics) for role in cls.encoders}
    return sorted({*plan.method.card.roles, *judges})


def _predict(plan: _Plan, directory: RunDirectory, module: Any) -> None:
    """Make the chunks that are missing, on every rank."""
    from benchmark.predict import ChunkWriter, PredictModule
    from benchmark.progress import RunProgress
    from benchmark.trainer import build_trainer
    from benchmark.zoo.compiled import compile_networks

    options = plan.options
    done: dict[int, int] = {}
    if is_rank_zero():
        done = directory.keep_finished_chunks()
        module.done = set(done)
        alone = options.num_nodes == 1 and not started_from_outside()
        if alone and len(done) == module.chunk_count:
            return
    trainer = build_trainer(
        accelerator=options.accelerator, devices=options.devices, num_nodes=options.num_nodes,
        strategy=options.strategy, precision=options.precision,
        callbacks=[
            ChunkWriter(directory),
            RankWatch(directory, module.chunk_count),
            RunProgress(
                f"{options.method} / {options.dataset}",
                len(module.samples),
                sum(done.values()),
            ),
        ],
    )  # fmt: skip
    plan.zoo.to(trainer.strategy.root_device)
    if plan.watch is not None:
        plan.watch.probe(plan.zoo, _roles(plan))
    with plan.watch.while_sampling(plan.zoo.device) if plan.watch else nullcontext():
        plan.method.prepare(plan.zoo)
        if options.compile:
            compile_networks(plan.zoo.loaded().values(), plan.zoo.device)
        trainer.predict(
            PredictModule(plan.method, options.seed), datamodule=module, return_predictions=False
        )
