"""``bench run --smoke``: one sample through a protocol's architectures with random weights.

It shows on the machine at hand that models of the right size fit, that shapes agree and that a
method and the metrics run to their end, before gigabytes of checkpoints are fetched. Its pictures
and scores mean nothing, so its manifest is marked and every command that compares runs refuses it.
"""

from __future__ import annotations

import sys
from contextlib import AbstractContextManager
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import torch

from benchmark import registry
from benchmark.config import Protocol, load_protocol
from benchmark.interface import Guidance, StyleTransferMethod
from benchmark.meter import Reading, metered
from benchmark.targets import TargetOptions
from benchmark.zoo.registry import ModelCard, model_card

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    from benchmark.launch import RunOptions
    from benchmark.targets import Targets
    from benchmark.zoo import ModelZoo

FOLDER = "smoke"  # of the output folder, apart from the runs
WARNING = "random weights: scores mean nothing"
# config keys that count passes through a network: a method without them runs as configured
FEW = {
    "steps": 2, "iterations": 2, "evaluations": 2, "inversion_steps": 2, "train_steps": 2,
    "test_steps": 2, "rounds": 1, "resamples": 1, "training_count": 2,
}  # fmt: skip
FEW_REVERSE = 2  # ``t0`` where it counts the steps of a respaced chain


def smoke_options(options: RunOptions) -> RunOptions:
    """The command line with one sample, one target style, one process and a folder of its own.

    What was given by name stays; images are the embedded ones unless ``--source`` or ``--images``
    says other.
    """
    embedded = options.images is None and options.source is None
    return replace(
        options,
        target=_one_target(options),
        limit=options.limit or 1,
        source="embedded" if embedded else options.source,
        devices="1" if options.devices == "auto" else options.devices,
        out=options.out / FOLDER,
        existing="fail" if options.existing == "fail" else "overwrite",
    )


def _one_target(options: RunOptions) -> TargetOptions:
    """A target that fits the method, where none was named."""
    if options.target != TargetOptions():
        return options.target
    guidance = registry.load(registry.METHODS, options.method).guidance
    if Guidance.TEXT in guidance:
        return options.target
    if Guidance.IMAGE in guidance:
        return TargetOptions(style_dataset="wikiart", style_limit=1)
    dataset = registry.load(registry.DATASETS, options.dataset)
    first, second, *_ = dataset.all_prompts(load_protocol(options.protocol).prompt_set)
    return TargetOptions(mixes=(f"{first.id}=0.5,{second.id}=0.5",))


def one_prompt(targets: Targets) -> Targets:
    """The first of the target styles."""
    prompts = targets.prompts[:1]
    kept = {prompt.id for prompt in prompts}
    return replace(
        targets,
        prompts=prompts,
        styles=_of(targets.styles, kept),
        mixtures=_of(targets.mixtures, kept),
    )


def _of(values: dict[str, Any] | None, kept: set[str]) -> dict[str, Any] | None:
    return None if values is None else {key: values[key] for key in values if key in kept}


def few_steps(protocol: Protocol, name: str, method: type[StyleTransferMethod]) -> Protocol:
    """The protocol with a method's chains cut short; ``--config`` and ``--set`` still go before."""
    usual = protocol.method_config.get(name, {})
    fields = method.Config.model_fields
    wanted = dict(FEW)
    if "respacing" in fields:
        wanted["t0"] = FEW_REVERSE
    cut = {}
    for key, few in wanted.items():
        if key in fields:
            value = usual.get(key, fields[key].get_default(call_default_factory=True))
            if isinstance(value, int) and value > few:
                cut[key] = few
    changed = {**protocol.method_config, name: {**usual, **cut}}
    return protocol.model_copy(update={"method_config": changed})


@dataclass
class SmokeWatch:
    """What a smoke run measures on its way.

    Attributes:
        protocol: before its chains were cut.
        models: a row for each role.
        sampling: the method on one chunk.
        scoring: all metrics.
    """

    protocol: Protocol
    models: list[dict[str, Any]] = field(default_factory=list)
    sampling: Reading = field(default_factory=Reading)
    scoring: Reading = field(default_factory=Reading)

    def probe(self, zoo: ModelZoo, roles: Iterable[str]) -> None:
        """Load every role's model and run it once."""
        from benchmark.zoo.probe import forward_once

        for role in sorted(set(roles)):
            card = model_card(zoo.roles[role])
            with metered(zoo.device) as reading:
                shown, parameters = forward_once(zoo, role, card, self.protocol.resolution)
            self.models.append(
                {
                    "role": role, "model": card.id, "architecture": architecture(card),
                    "parameters": parameters, "input": shown,
                    "peak_memory_mib": round(reading.peak_memory_mib, 1),
                    "seconds": round(reading.seconds, 2),
                }
            )  # fmt: skip

    def while_sampling(self, device: torch.device) -> AbstractContextManager[Reading]:
        """Measure the method."""
        return metered(device, self.sampling)

    def while_scoring(self, device: torch.device) -> AbstractContextManager[Reading]:
        """Measure the metrics."""
        return metered(device, self.scoring)

    def report(self, zoo: ModelZoo, method: str, config: dict[str, Any]) -> dict[str, Any]:
        """JSON-able: models, phases, and the config values that a real run has otherwise."""
        usual = self.protocol.method_config.get(method, {})
        fields = registry.load(registry.METHODS, method).Config.model_fields
        before = {
            key: usual.get(key, fields[key].get_default(call_default_factory=True))
            for key in config
        }
        changed = {
            key: {"smoke": value, "protocol": before[key]}
            for key, value in config.items()
            if key in (*FEW, "t0") and value != before[key]
        }
        return {
            "note": WARNING,
            "device": str(zoo.device),
            "models": self.models,
            "phases": {
                name: {
                    "seconds": round(reading.seconds, 2),
                    "peak_memory_mib": round(reading.peak_memory_mib, 1),
                }
                for name, reading in (("sampling", self.sampling), ("scoring", self.scoring))
            },
            "changed": changed,
        }


def architecture(card: ModelCard) -> str:
    """A card's architecture in a few words."""
    if isinstance(card.architecture, str):
        return card.architecture
    return card.kind if card.ships else f"{card.kind}: {card.title.partition(',')[0]}"


def print_report(report: dict[str, Any], directory: Path) -> None:
    """The table of a smoke run on stdout, without scores."""
    from rich.console import Console
    from rich.table import Table

    table = Table(title=f"smoke run ({WARNING})")
    for name in ("role", "architecture", "input"):
        table.add_column(name, overflow="fold")
    for name in ("parameters", "peak MiB", "seconds"):
        table.add_column(name, justify="right")
    for row in report["models"]:
        table.add_row(
            row["role"], row["architecture"], row["input"], f"{row['parameters']:,}",
            f"{row['peak_memory_mib']:,.0f}", f"{row['seconds']:.1f}",
        )  # fmt: skip
    table.add_section()
    for name, phase in report["phases"].items():
        table.add_row(
            name, "", "", "", f"{phase['peak_memory_mib']:,.0f}", f"{phase['seconds']:.1f}"
        )
    Console().print(table)
    changed = [
        f"{key}={values['smoke']} instead of {values['protocol']}"
        for key, values in report["changed"].items()
    ]
    sys.stdout.write(f"device         {report['device']}\n")
    sys.stdout.write(f"few steps      {', '.join(changed) or 'nothing to cut'}\n")
    sys.stdout.write(f"run directory  {directory}\n")
    sys.stdout.write(f"note           {WARNING}\n")
