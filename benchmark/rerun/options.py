"""From a manifest back to the command line that makes the run again."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmark import registry
from benchmark.config import MixturePart, Protocol, load_protocol
from benchmark.errors import DataError, UsageError
from benchmark.launch import RunOptions
from benchmark.records import Manifest
from benchmark.run import Existing
from benchmark.targets import TargetOptions


@dataclass(frozen=True)
class Pictures:
    """Where pictures of the user's own are now; what is not given is looked for where it was.

    Attributes:
        images: folder or archive of the content images.
        images_within: what is taken of an archive.
        style_images: file or folder of the style images.
    """

    images: Path | None = None
    images_within: str | None = None
    style_images: Path | None = None


def options_of(
    manifest: Manifest, pictures: Pictures, *, out: Path, existing: Existing,
    accelerator: str | None, weights_dir: Path | None,
) -> RunOptions:  # fmt: skip
    """Options whose run is that of the manifest.

    One process makes all chunks: how many there were moves no pixel. Whether the options do lead
    to the same config is for :func:`benchmark.rerun.requirements.require_same` to say.

    Raises:
        UsageError: an unknown dataset or protocol, or pictures that the manifest names are not
            here; the message asks for the option that gives them.
    """
    config = manifest.config
    protocol = load_protocol(config.protocol)
    dataset = registry.load(registry.DATASETS, config.dataset)
    images, within, source, samples = _source(manifest, dataset, pictures)
    return RunOptions(
        method=config.method, dataset=config.dataset, protocol=config.protocol,
        target=_target(manifest, protocol, dataset, pictures),
        source_prompt=config.source_prompt, guide=_guide(manifest, protocol),
        images=images, images_within=within, source=source, samples=samples,
        limit=manifest.dataset.get("images"),
        on_bad_image="skip" if manifest.dataset.get("skipped") else "fail",
        seed=config.seed, config=None,
        assignments=(),
        settings=tuple(
            (key, value, "the manifest's config") for key, value in config.method_config.items()
        ),
        weights_dir=weights_dir, out=out, existing=existing,
        accelerator=accelerator or str(manifest.execution.get("accelerator", "auto")),
        devices="1", strategy="auto", num_nodes=1, precision=config.precision,
        batch_size=manifest.batch_size, compile=bool(manifest.execution.get("compile")),
    )  # fmt: skip


def _source(
    manifest: Manifest, dataset: Any, pictures: Pictures
) -> tuple[Path | None, str | None, str | None, str]:
    """The values of --images, --images-within, --source and --samples."""
    facts = manifest.dataset.get("source") or {}
    kind = facts.get("name")
    if pictures.images is not None:
        return pictures.images, pictures.images_within, None, "paper"
    if pictures.images_within is not None:
        raise UsageError("--images-within selects of --images, which is not given")
    if kind == "embedded":
        return None, None, "embedded", "paper"
    if kind == "hub":
        lists = dataset.card.hub.samples
        names = [n for n in lists if lists[n].model_dump(mode="json") == facts.get("samples")]
        if not names:
            raise UsageError(
                f"the card of {manifest.config.dataset} has no sample list like that of the "
                f"manifest ({facts.get('samples')}): take the version of stylebench that made the "
                f"run, {manifest.versions.get('stylebench')}"
            )
        return None, None, f"hub:{facts.get('id')}", names[0]
    recorded = Path(str(facts.get("folder") or facts.get("archive") or ""))
    if not recorded.name or not recorded.exists():
        raise UsageError(
            f"the run was made on images of the user's own ({kind}: {recorded}), which are not "
            f"here: give them with --images; they are compared with the manifest's fingerprint "
            f"before anything is computed"
        )
    within = facts.get("column") or facts.get("within")
    # of a folder of shards, what is taken inside each stands after a colon
    shards = recorded.is_dir() and kind in {"webdataset", "parquet"} and within is not None
    return recorded, f":{within}" if shards else within, None, "paper"


def _target(
    manifest: Manifest, protocol: Protocol, dataset: Any, pictures: Pictures
) -> TargetOptions:
    prompts = manifest.config.prompts
    if any(prompt.mixture is not None for prompt in prompts):
        files = _files_of_parts(manifest, protocol, dataset, pictures)
        return TargetOptions(mixes=tuple(
            ",".join(
                f"{files[part.id] if part.text is None else part.id}={part.weight!r}"
                for part in prompt.mixture or ()
            )
            for prompt in prompts
        ))  # fmt: skip
    if any(prompt.style_sha256 is not None for prompt in prompts):
        return _style_images(manifest, pictures)
    known = {prompt.id: prompt.text for prompt in dataset.all_prompts(protocol.prompt_set)}
    if all(known.get(prompt.id) == prompt.text for prompt in prompts):
        return TargetOptions(prompts=",".join(prompt.id for prompt in prompts))
    if len(prompts) == 1:
        return TargetOptions(prompt=prompts[0].text)
    strange = next(prompt for prompt in prompts if known.get(prompt.id) != prompt.text)
    raise UsageError(
        f"the prompt set {protocol.prompt_set} has no prompt {strange.id!r} with the text "
        f"{strange.text!r} here: take the version of stylebench that made the run, "
        f"{manifest.versions.get('stylebench')}"
    )


def _style_images(manifest: Manifest, pictures: Pictures) -> TargetOptions:
    origin = manifest.dataset.get("styles") or {}
    count = len(manifest.config.prompts)
    if pictures.style_images is None and "dataset" in origin:
        source = origin.get("source") or {}
        kind = f"hub:{source.get('id')}" if source.get("name") == "hub" else "embedded"
        return TargetOptions(style_dataset=origin["dataset"], style_source=kind, style_limit=count)
    place = pictures.style_images or Path(str(origin.get("folder") or ""))
    if not place.name or not place.exists():
        ids = ", ".join(prompt.id for prompt in manifest.config.prompts)
        raise UsageError(
            f"the style images of the run ({ids}) are not here ({place}): give them with "
            f"--style-images; they are compared with the manifest's hashes before anything is "
            f"computed"
        )
    return TargetOptions(style_images=place, style_limit=count)


def _files_of_parts(
    manifest: Manifest, protocol: Protocol, dataset: Any, pictures: Pictures
) -> dict[str, Path]:
    """The file of every style image that is part of a mixture, by id; found by its pixels."""
    parts = [part for prompt in manifest.config.prompts for part in prompt.mixture or ()]
    wanted = {part.id: part for part in parts if part.text is None}
    if not wanted:
        return {}
    if pictures.style_images is None:
        raise UsageError(
            f"style images are part of the run's mixtures ({', '.join(wanted)}), and the manifest "
            f"holds only their hashes: give them with --style-images"
        )
    place = pictures.style_images
    if not place.exists():
        raise UsageError(f"--style-images {place} does not exist")
    files = [place] if place.is_file() else sorted(path for path in place.iterdir()
                                                  if path.is_file())  # fmt: skip
    found: dict[str, Path] = {}
    for file in files:
        name = _part_shown_by(file, wanted, protocol, dataset)
        if name is not None:
            found.setdefault(name, file)
    missing = [part for name, part in wanted.items() if name not in found]
    if missing:
        raise UsageError(
            f"--style-images {place}: no picture there has the id {missing[0].id!r} and the pixels "
            f"of the manifest (SHA-256 {missing[0].style_sha256} at "
            f"{protocol.resolution} x {protocol.resolution})"
        )
    separated = [file for file in found.values() if "," in str(file)]
    if separated:
        raise UsageError(f"{separated[0]}: a comma separates the styles of --mix; rename the file")
    return found


def _part_shown_by(
    file: Path, wanted: dict[str, MixturePart], protocol: Protocol, dataset: Any
) -> str | None:
    try:
        (style,) = dataset.styles(
            file, size=protocol.resolution, resize_filter=protocol.resize_filter
        )
    except DataError:  # no picture, and so none of those that are looked for
        return None
    part = wanted.get(style.id)
    return style.id if part is not None and part.style_sha256 == style.sha256 else None


def _guide(manifest: Manifest, protocol: Protocol) -> str | None:
    """The model that guided in place of the protocol's, if one was asked for."""
    if "guide" not in manifest.config.models:
        return None
    named = manifest.models.get("guide", {}).get("id")
    return None if named == protocol.models_for(manifest.config.dataset).get("guide") else named
