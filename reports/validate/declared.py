"""Checks of what a method declares: its card, its config, and the models that it holds."""

from __future__ import annotations

import json

from pydantic import ValidationError

from benchmark.config import canonical_json
from benchmark.interface import Guidance, MethodCard, MethodConfig
from reports.validate.outcome import Outcome, failed, passed
from reports.validate.trial import Trial, digest, models_of, weights_of


def card(trial: Trial) -> Outcome:
    """Title, paper, guidance, and every role it names or takes."""
    found = getattr(trial.method_class, "card", None)
    guidance = getattr(trial.method_class, "guidance", None)
    problems = []
    if not isinstance(found, MethodCard):
        problems.append(f"`card` is {type(found).__name__}, not a MethodCard")
    else:
        problems += [f"card.{key} is empty" for key in ("title", "paper")
                     if not str(getattr(found, key) or "").strip()]  # fmt: skip
        known = sorted(trial.zoo.roles)
        problems += [
            f"card.roles names {role!r}, which the protocol does not fill (it fills "
            f"{', '.join(known)})"
            for role in found.roles
            if role not in known
        ]
        problems += [
            f"prepare takes the model of role {role!r}, which card.roles does not name"
            for role in trial.zoo.verified_hashes()
            if role not in found.roles
        ]
    kinds = guidance if isinstance(guidance, frozenset | set) else ()
    if not kinds or not all(isinstance(kind, Guidance) for kind in kinds):
        problems.append("`guidance` is not a set of members of Guidance (TEXT, IMAGE, MIXTURE)")
    if problems:
        return failed(
            "; ".join(problems),
            "Complete the class attributes: tables show title and paper, and the weights of every "
            "role in card.roles are hashed into the manifest.",
        )
    return passed()


def config_documented(trial: Trial) -> Outcome:
    """Every field has a description."""
    config = type(trial.config)
    if not isinstance(trial.config, MethodConfig):
        return failed(f"{config.__name__} is no MethodConfig", "Derive it from MethodConfig.")
    silent = [key for key, field in config.model_fields.items()
              if not (field.description or "").strip()]  # fmt: skip
    if silent:
        return failed(
            f"no description: {', '.join(silent)}",
            "Write Field(default=..., description=...) with the unit and the source of the value.",
        )
    count = len(config.model_fields)
    return passed(f"{count} field{'' if count == 1 else 's'}")


def config_serialisable(trial: Trial) -> Outcome:
    """JSON and back gives an equal config with an equal hash; equal values give equal hashes."""
    config = trial.config
    remedy = (
        "Use fields of JSON's types (numbers, text, tuples, enums) without custom serialisers, and "
        "defaults that are the same in every process: the hash of the config names the run "
        "directory."
    )
    try:
        text = config.model_dump_json()
        again = type(config).model_validate_json(text)
        same = type(config).model_validate(
            json.loads(canonical_json(config.model_dump(mode="json")))
        )
        twin = type(config)(**{key: getattr(config, key) for key in config.model_fields_set})
    except (ValidationError, TypeError, ValueError) as error:
        return failed(f"{type(error).__name__}: {str(error).splitlines()[0]}", remedy)
    if again != config or same != config:
        return failed(f"after JSON and back the config differs: {text}", remedy)
    hashes = {
        canonical_json(found.model_dump(mode="json")) for found in (config, again, same, twin)
    }
    if len(hashes) > 1:
        return failed("two configs with the same values given have different JSON", remedy)
    return passed()


def frozen_models(trial: Trial) -> Outcome:
    """No weight wants a gradient or holds one, and no model of the zoo has changed.

    A method may change copies of its own, as one does that is tuned for each prompt.
    """
    weights = weights_of(trial.method)
    after = digest(trial.shared_weights())
    problems = []
    wanting = [name for name, value in weights.items() if value.requires_grad]
    holding = [name for name, value in weights.items() if value.grad is not None]
    changed = [name for name, sums in trial.weights_before.items()
               if after.get(name, sums) != sums]  # fmt: skip
    for names, what in (
        (wanting, "requires_grad is on"),
        (holding, "a gradient is stored"),
        (changed, "stylize changed the values"),
    ):
        if names:
            problems.append(f"{what}: {_some(names)}")
    if problems:
        return failed(
            "; ".join(problems),
            "Call requires_grad_(False) in prepare, differentiate with torch.autograd.grad towards "
            "the picture, and train copies of a model, never the zoo's: other methods share it.",
        )
    count = sum(1 for _, model in models_of(trial.method) for _ in model.parameters())
    return passed(f"{count} parameters")


def _some(names: list[str]) -> str:
    left = len(names) - 3
    return ", ".join(names[:3]) + (f" and {left} more" if left > 0 else "")
