"""What can be set of DiffuseIT, with the flags of its official command."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, model_validator

from benchmark.interface import MethodConfig


class DiffuseITConfig(MethodConfig):
    """Defaults are the README's command for text guidance (flags' names in the descriptions).

    Its command for image guidance differs in ``respacing=200 t0=120 divergence_above=100``.
    """

    respacing: int = Field(default=100, ge=2, le=1000, description="timestep_respacing")
    t0: int = Field(default=60, ge=2, description="respacing - skip_timesteps")
    sampler: Literal["ddpm", "ddim"] = Field(default="ddpm", description="--ddim or not")
    resamples: int = Field(
        default=10, ge=1, description="how often the first DDPM step is taken (fixed upstream)"
    )
    clip: float = Field(default=2000.0, ge=0, description="clip_guidance_lambda")
    n_views: int = Field(default=8, ge=1, description="aug_num, views for each CLIP")
    clip_roles: tuple[str, ...] = Field(
        default=("guide",), min_length=1,
        description="clip_models: roles of the protocol whose CLIPs guide together (upstream: 5)",
    )  # fmt: skip
    templates: bool = Field(
        default=True, description="mean over the ImageNet prompt templates (fixed upstream)"
    )
    structure: float = Field(default=1000.0, ge=0, description="lambda_ssim")
    contrastive: float = Field(default=200.0, ge=0, description="lambda_contra_ssim")
    divergence: float = Field(default=100.0, ge=0, description="lambda_dir_cls")
    divergence_above: int = Field(
        default=50, ge=0, description="diff_iter: divergence in respaced steps above it only"
    )
    progressive_contrast: bool = Field(
        default=False, description="use_prog_contrast: half while the CLIP loss is above -0.5"
    )
    regularize_content: bool = Field(
        default=True, description="regularize_content: double below a CLIP loss of -0.5"
    )
    vit_size: int = Field(
        default=224, ge=8, description="dino_global_patch_size, pixels that the ViT sees"
    )
    noise_mix: bool = Field(
        default=True, description="use_noise_aug_all: the ViT sees a mixture of x0_hat and x_t"
    )
    style_class: float = Field(default=2000.0, ge=0, description="lambda_trg, image guidance only")
    style_l2: float = Field(default=3000.0, ge=0, description="l2_trg_lambda, image guidance only")
    colour_match: bool = Field(default=True, description="use_colormatch, image guidance only")
    identity: float = Field(default=100.0, ge=0, description="id_lambda, on faces (use_ffhq)")
    range: float = Field(default=200.0, ge=0, description="range_lambda")
    range_restart: bool = Field(default=True, description="use_range_restart")
    restart_above: float = Field(
        default=0.01, gt=0, description="weighted range loss that restarts (fixed upstream)"
    )
    restart_above_faces: float = Field(
        default=0.1, gt=0, description="the same for faces (use_ffhq; fixed upstream)"
    )
    max_restarts: int = Field(default=5, ge=0, description="ours: upstream restarts without end")

    @model_validator(mode="after")
    def _consistent(self) -> DiffuseITConfig:
        if self.t0 > self.respacing:
            raise ValueError(f"t0 ({self.t0}) cannot exceed respacing ({self.respacing})")
        if self.range_restart and not self.range:
            raise ValueError("range_restart needs the range loss: set range above 0 or turn it off")
        if "judge" in self.clip_roles:
            raise ValueError("clip_roles names the judge, which must not guide")
        return self
