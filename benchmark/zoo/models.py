"""The zoo: models by role, verified, loaded once, frozen."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import torch
from pydantic import ValidationError
from torch import Tensor, nn

from benchmark.cache import cache_root
from benchmark.diffusion.unet import UNet, UNetConfig
from benchmark.errors import UsageError, WeightsError
from benchmark.zoo.denoiser import Denoiser
from benchmark.zoo.loading import load_state, load_strictly, verify_file
from benchmark.zoo.registry import Kind, ModelCard, model_card, model_ids

if TYPE_CHECKING:
    from benchmark.zoo.clip import ClipEncoder
    from benchmark.zoo.dino import DinoViT
    from benchmark.zoo.face import FaceEmbedder
    from benchmark.zoo.vgg import VggFeatures

log = logging.getLogger(__name__)

M = TypeVar("M", bound=nn.Module)


def default_weights_dir() -> Path:
    """Folder of checkpoints that do not ship, unless ``--weights-dir`` names another."""
    return cache_root() / "weights"


class ModelZoo:
    """Models by the role they play in a protocol.

    A model is loaded at first use, after its file's SHA-256 was verified; it is in ``eval`` mode,
    float32, without gradients to its weights, on ``device``. The same role always gives the same
    object, and roles that share a model id share the object.

    Args:
        roles: role (``denoiser``, ``guide``, ``judge``, ``vgg``, ``dino``, ``face``) -> model id.
        weights_dir: folder of checkpoints that do not ship; default :func:`default_weights_dir`.
        device: where the models go.
    """

    def __init__(
        self, roles: Mapping[str, str], weights_dir: Path | None = None,
        device: torch.device | str = "cpu",
    ) -> None:  # fmt: skip
        self.roles = dict(roles)
        self.weights_dir = weights_dir if weights_dir is not None else default_weights_dir()
        self.device = torch.device(device)
        self._models: dict[str, nn.Module] = {}
        self._hashes: dict[str, str] = {}
        self._used: list[str] = []

    def to(self, device: torch.device | str) -> None:
        """Move the zoo; models that are loaded already go along."""
        self.device = torch.device(device)
        for model in self._models.values():
            model.to(self.device)

    def denoiser(self) -> Denoiser:
        """The U-Net of role ``denoiser``, channels-last."""
        return self._get("denoiser", "unet", Denoiser)

    def clip(self, role: str) -> ClipEncoder:
        """The CLIP of a role: ``guide`` for methods, ``judge`` for metrics."""
        from benchmark.zoo.clip import ClipEncoder

        return self._get(role, "clip", ClipEncoder)

    def vgg(self) -> VggFeatures:
        """The VGG of role ``vgg``."""
        from benchmark.zoo.vgg import VggFeatures

        return self._get("vgg", "vgg", VggFeatures)

    def dino(self) -> DinoViT:
        """The ViT of role ``dino``."""
        from benchmark.zoo.dino import DinoViT

        return self._get("dino", "dino", DinoViT)

    def face(self) -> FaceEmbedder:
        """The face embedder of role ``face``."""
        from benchmark.zoo.face import FaceEmbedder

        return self._get("face", "face", FaceEmbedder)

    def verified_hashes(self, roles: Iterable[str] | None = None) -> dict[str, dict[str, Any]]:
        """What plays each role, for the manifest; files not verified yet are verified now.

        Args:
            roles: default: the roles that were asked for so far.

        Returns:
            role -> ``{"id", "file", "sha256", "pinned", "licence"}``; ``pinned`` is False where
            the registry knows no hash to compare with.

        Raises:
            UsageError: a role the protocol does not fill.
            WeightsError: a file that is missing or not the right one.
        """
        found: dict[str, dict[str, Any]] = {}
        for role in self._used if roles is None else roles:
            card = self._card(role)
            found[role] = {
                "id": card.id,
                "file": card.file,
                "sha256": self._verify(card),
                "pinned": card.sha256 is not None,
                "licence": card.licence,
            }
        return found

    def _card(self, role: str) -> ModelCard:
        if role not in self.roles:
            raise UsageError(
                f"the protocol names no model for the role {role!r}; it fills: "
                f"{', '.join(sorted(self.roles))}"
            )
        return model_card(self.roles[role])

    def _verify(self, card: ModelCard) -> str:
        if card.id not in self._hashes:
            path = card.path(self.weights_dir)
            self._hashes[card.id] = verify_file(card, path)
            if card.sha256 is None:
                log.warning(
                    "%s is used as it is: no hash of model %r is known to compare with",
                    path,
                    card.id,
                )
        return self._hashes[card.id]

    def _get(self, role: str, kind: Kind, model_type: type[M]) -> M:
        card = self._card(role)
        if card.kind != kind:
            raise UsageError(
                f"the role {role!r} needs a model of kind {kind!r}, but {card.id!r} is of kind "
                f"{card.kind!r}"
            )
        if card.id not in self._models:
            self._verify(card)
            # some constructors draw initial weights, which the stored ones then replace
            with torch.random.fork_rng(devices=[]):
                model = build(card, card.path(self.weights_dir))
            model = model.eval().requires_grad_(False).to(self.device, torch.float32)
            self._models[card.id] = model
        if role not in self._used:
            self._used.append(role)
        found = self._models[card.id]
        assert isinstance(found, model_type)
        return found


def build(card: ModelCard, path: Path) -> nn.Module:
    """The model of a card with the weights of a file, on the CPU.

    Raises:
        WeightsError: the file is unsafe or damaged, or does not fit the card's architecture.
    """
    state = load_state(path)
    try:
        if card.kind == "unet":
            return _denoiser(card, state)
        if card.kind == "clip":
            from benchmark.zoo.clip import ClipEncoder

            return ClipEncoder.from_state_dict(state, str(card.architecture), card.id)
        if card.kind == "vgg":
            from benchmark.zoo.vgg import VggFeatures

            return VggFeatures.from_state_dict(state)
        if card.kind == "dino":
            from benchmark.zoo.dino import DinoViT

            return DinoViT.from_state_dict(state)
        from benchmark.zoo.face import FaceEmbedder

        return FaceEmbedder.from_state_dict(state)
    except WeightsError as error:
        raise WeightsError(f"{path} (model {card.id!r}): {error}") from error


def _denoiser(card: ModelCard, state: dict[str, Tensor]) -> Denoiser:
    try:
        config = UNetConfig.model_validate(card.architecture)
    except ValidationError as error:
        first = error.errors()[0]
        raise WeightsError(
            f"the architecture in its card is wrong: {'.'.join(map(str, first['loc']))}: "
            f"{first['msg']}"
        ) from error
    # no weights are drawn: the global random state stays as it is, and 2 GB models load quickly
    with torch.device("meta"):
        unet = UNet(config)
    unet = unet.to_empty(device="cpu")
    load_strictly(unet, state, "the U-Net architecture in its card")
    unet = unet.to(memory_format=torch.channels_last)
    try:
        return Denoiser(unet, card.classes)
    except ValueError as error:
        raise WeightsError(f"its card is wrong: {error}") from error


def inventory(weights_dir: Path | None = None) -> list[dict[str, Any]]:
    """Every registered model with its place and state, sorted by name.

    ``status`` is ``verified``, ``unpinned`` (present, but no hash is known), ``not present`` or
    ``damaged`` (the reason is in ``problem``). Hashing a large file takes seconds.
    """
    folder = weights_dir if weights_dir is not None else default_weights_dir()
    rows = []
    for model_id in model_ids():
        card = model_card(model_id)
        path = card.path(folder)
        status, problem = "not present", None
        if path.is_file():
            try:
                verify_file(card, path)
                status = "verified" if card.sha256 else "unpinned"
            except WeightsError as error:
                status, problem = "damaged", str(error)
        rows.append(
            {
                "name": card.id,
                **card.model_dump(mode="json", exclude={"id"}),
                "status": status,
                "path": str(path),
                "problem": problem,
            }
        )
    return rows
