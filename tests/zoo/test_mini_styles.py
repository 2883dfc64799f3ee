# SciPy and scikit-image ship no type stubs.
# mypy: disable-error-code="import-untyped,no-untyped-call"
from __future__ import annotations

import numpy as np
import pytest
from scipy import ndimage
from skimage import data, transform

from benchmark.zoo.mini.captions import SUBJECTS, caption
from benchmark.zoo.mini.styles import STYLES, stylize
from benchmark.zoo.mini.styles.fields import Field, Image, luminance

PAPER_PROMPTS = {
    "A sketch with crayon",
    "Golden",
    "Water Painting",
    "Wooden",
    "Red bricks",
    "Clay",
    "Pop art",
    "Stone wall",
    "Pixar",
    "Zombie",
    "Ukiyo-E",
    "Neon Light",
    "Painting by Cezanne",
    "Gogh",
    "Stained Glass",
    "Oil painting of flowers",
}


def _photo(name: str) -> Image:
    picture = {"astronaut": data.astronaut, "chelsea": data.chelsea, "coffee": data.coffee}[name]()
    side = min(picture.shape[:2])
    square = picture[:side, :side].astype(np.float32) / 255.0
    small = transform.resize(square, (128, 128), anti_aliasing=True)
    return np.asarray(np.clip(small, 0.0, 1.0), dtype=np.float32)


PHOTOS = {name: _photo(name) for name in ("astronaut", "chelsea", "coffee")}

every_style = pytest.mark.parametrize("style", sorted(STYLES))
every_photo = pytest.mark.parametrize("photo", sorted(PHOTOS))


def _apply(photo: str, style: str, seed: int = 0) -> Image:
    return stylize(PHOTOS[photo], style, np.random.default_rng(seed))


def _detail(values: Field) -> Field:
    """Strength of the structure of 8 to 24 pixels, where contents live and textures do not."""
    smooth = ndimage.gaussian_filter(values, 2.5)
    return np.asarray(ndimage.gaussian_gradient_magnitude(smooth, 1.5), dtype=np.float32)


def _correlation(a: Field, b: Field) -> float:
    return float(np.corrcoef(a.ravel(), b.ravel())[0, 1])


def _layout_agreement(source: Image, result: Image) -> float:
    """How well large shapes are kept, as the best of three correlations.

    Painted styles keep the blurred luminance. Styles with their own tones keep where it
    changes. Line styles turn edges into ink, so there edges meet distance from the paper.
    """
    before, after = luminance(source), luminance(result)
    tones = _correlation(ndimage.gaussian_filter(before, 4.0), ndimage.gaussian_filter(after, 4.0))
    ink = ndimage.gaussian_filter(np.abs(after - np.median(after)), 2.0)
    edges = _detail(before)
    return max(tones, _correlation(edges, _detail(after)), _correlation(edges, ink))


@every_style
@every_photo
def test_result_is_an_image_of_the_same_shape(photo: str, style: str) -> None:
    result = _apply(photo, style)
    assert result.dtype == np.float32
    assert result.shape == PHOTOS[photo].shape
    assert np.isfinite(result).all()
    assert result.min() >= 0.0
    assert result.max() <= 1.0


@every_style
def test_same_seed_same_result_and_other_seed_other_result(style: str) -> None:
    first = _apply("chelsea", style, 3)
    np.testing.assert_array_equal(first, _apply("chelsea", style, 3))
    assert np.abs(first - _apply("chelsea", style, 4)).mean() > 0.003


@every_style
def test_source_is_left_alone(style: str) -> None:
    source = PHOTOS["coffee"].copy()
    stylize(source, style, np.random.default_rng(0))
    np.testing.assert_array_equal(source, PHOTOS["coffee"])


@every_style
@every_photo
def test_style_changes_the_image(photo: str, style: str) -> None:
    assert np.abs(_apply(photo, style) - PHOTOS[photo]).mean() > 0.05


@every_style
def test_layout_is_kept(style: str) -> None:
    agreement = [
        _layout_agreement(PHOTOS[photo], _apply(photo, style, seed))
        for photo in PHOTOS
        for seed in (0, 1)
    ]
    assert np.median(agreement) > 0.5
    assert min(agreement) > 0.3


@every_style
def test_layout_is_that_of_the_source_and_not_of_another_photo(style: str) -> None:
    for photo, other in (("astronaut", "chelsea"), ("chelsea", "coffee"), ("coffee", "astronaut")):
        result = _apply(photo, style)
        own = _layout_agreement(PHOTOS[photo], result)
        assert own > _layout_agreement(PHOTOS[other], result) + 0.1


@every_style
def test_flat_and_odd_sized_images_are_handled(style: str) -> None:
    for image in (np.zeros((64, 48, 3), np.float32), np.ones((97, 130, 3), np.float32)):
        result = stylize(image, style, np.random.default_rng(0))
        assert result.shape == image.shape
        assert np.isfinite(result).all()


def test_styles_differ_from_each_other() -> None:
    """On every pair the results differ by more than a faint tint."""
    results = {style: _apply("chelsea", style) for style in STYLES}
    names = sorted(results)
    gaps = {(a, b): np.abs(results[a] - results[b]).mean() for a in names for b in names if a < b}
    closest = min(gaps, key=lambda pair: gaps[pair])
    assert gaps[closest] > 0.05, closest


def test_unknown_style_names_the_nearest() -> None:
    with pytest.raises(KeyError, match="golden"):
        _apply("coffee", "goldn")


def test_image_without_three_channels_is_refused() -> None:
    with pytest.raises(ValueError, match="shape"):
        stylize(np.zeros((8, 8), np.float32), "golden", np.random.default_rng(0))


def test_registry_covers_the_paper_and_is_consistent() -> None:
    assert len(STYLES) >= 28
    prompts = [style.prompt for style in STYLES.values()]
    assert set(prompts) >= PAPER_PROMPTS
    assert len(set(prompts)) == len(prompts)
    phrases = [phrase.lower() for style in STYLES.values() for phrase in style.synonyms]
    assert len(set(phrases)) == len(phrases), "two styles share a caption phrase"
    for name, style in STYLES.items():
        assert style.id == name
        assert 4 <= len(style.synonyms) <= 8


@pytest.mark.parametrize("domain", sorted(SUBJECTS))
def test_captions_name_the_style_or_the_subject(domain: str) -> None:
    rng = np.random.default_rng(0)
    golden = STYLES["golden"]
    phrases = (golden.prompt, *golden.synonyms)
    for subject in SUBJECTS[domain]:
        styled = [caption(rng, subject, golden) for _ in range(40)]
        assert all(any(phrase in text for phrase in phrases) for text in styled)
        assert any(subject in text for text in styled)
        plain = [caption(rng, subject, None) for _ in range(40)]
        assert not any(phrase in text for phrase in phrases for text in plain)
        assert len(set(plain)) > 3
        assert not any("{" in text for text in styled + plain)


def test_captions_follow_the_generator() -> None:
    texts = [
        [caption(np.random.default_rng(5), "dog", STYLES["clay"]) for _ in range(2)]
        for _ in range(2)
    ]
    assert texts[0] == texts[1]


def test_article_fits_the_subject() -> None:
    rng = np.random.default_rng(1)
    texts = {caption(rng, "object", None) for _ in range(200)}
    assert "an object" in texts
    assert not any("a object" in text for text in texts)
