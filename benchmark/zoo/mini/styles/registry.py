"""The styles by id, with the phrases that name them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from . import drawing, material, painting, pieces, screen
from .fields import Image


@dataclass(frozen=True)
class Style:
    """One style: `apply` turns an image (H, W, 3) in [0, 1] into a stylised one."""

    id: str
    apply: Callable[[Image, np.random.Generator], Image]
    prompt: str
    synonyms: tuple[str, ...]


_ALL = (
    Style(
        "crayon-sketch",
        drawing.crayon_sketch,
        "A sketch with crayon",
        (
            "crayon drawing",
            "wax crayon sketch",
            "colourful crayon strokes on paper",
            "child's crayon drawing",
            "crayon",
        ),
    ),
    Style(
        "pencil-sketch",
        drawing.pencil_sketch,
        "Pencil sketch",
        (
            "pencil drawing",
            "graphite drawing",
            "hand-drawn pencil hatching",
            "grey pencil on white paper",
            "black and white sketch",
        ),
    ),
    Style(
        "charcoal",
        drawing.charcoal,
        "Charcoal drawing",
        (
            "charcoal",
            "charcoal sketch on brown paper",
            "smudged charcoal",
            "charcoal and chalk drawing",
        ),
    ),
    Style(
        "engraving",
        drawing.engraving,
        "Engraving",
        (
            "etching",
            "copperplate engraving",
            "ink line engraving",
            "engraved print",
            "old book engraving",
        ),
    ),
    Style(
        "comic",
        drawing.comic,
        "Comic book",
        (
            "comic",
            "cartoon with thick outlines",
            "comic strip",
            "inked comic panel",
            "superhero comic book",
        ),
    ),
    Style(
        "ukiyo-e",
        drawing.ukiyo_e,
        "Ukiyo-E",
        (
            "Japanese woodblock print",
            "ukiyo-e print",
            "Hokusai",
            "traditional Japanese print",
            "Japanese ukiyo-e painting",
        ),
    ),
    Style(
        "blueprint",
        drawing.blueprint,
        "Blueprint",
        (
            "architectural blueprint",
            "white lines on blue paper",
            "technical drawing",
            "blue technical plan",
            "cyanotype plan",
        ),
    ),
    Style(
        "watercolour",
        painting.watercolour,
        "Water Painting",
        (
            "watercolour",
            "watercolor painting",
            "aquarelle",
            "watercolour wash on paper",
            "soft watercolor",
        ),
    ),
    Style(
        "oil-painting",
        painting.oil_painting,
        "Oil painting",
        (
            "oil on canvas",
            "thick oil paint",
            "classical oil painting",
            "painted with oil brush strokes",
            "old master painting",
        ),
    ),
    Style(
        "oil-painting-of-flowers",
        painting.oil_painting_of_flowers,
        "Oil painting of flowers",
        (
            "flowers",
            "flower painting",
            "bouquet of flowers",
            "floral oil painting",
            "painted blossoms",
            "covered with flowers",
        ),
    ),
    Style(
        "gogh",
        painting.gogh,
        "Gogh",
        (
            "Van Gogh",
            "painting by Van Gogh",
            "starry night",
            "Vincent van Gogh",
            "swirling brush strokes",
            "Starry Night by Vincent van Gogh",
        ),
    ),
    Style(
        "cezanne",
        painting.cezanne,
        "Painting by Cezanne",
        (
            "Cezanne",
            "Paul Cezanne",
            "Cézanne",
            "post-impressionist painting by Paul Cezanne",
            "Cezanne brush strokes",
        ),
    ),
    Style(
        "cubist",
        painting.cubist,
        "Cubism",
        ("cubist painting", "cubist", "analytic cubism", "angular planes", "geometric cubism"),
    ),
    Style(
        "pointillism",
        painting.pointillism,
        "Pointillism",
        (
            "pointillist painting",
            "painting made of dots",
            "Seurat",
            "dots of colour",
            "coloured dots",
        ),
    ),
    Style(
        "pixar",
        painting.pixar,
        "Pixar",
        (
            "Pixar animation",
            "3D render in the style of Pixar",
            "animated film character",
            "3D cartoon",
            "Disney Pixar movie",
        ),
    ),
    Style(
        "golden",
        material.golden,
        "Golden",
        ("gold statue", "made of gold", "golden metal", "gold", "hammered gold", "shiny gold"),
    ),
    Style(
        "silver",
        material.silver,
        "Silver",
        (
            "chrome",
            "made of silver",
            "polished metal",
            "liquid chrome",
            "metallic silver",
            "silver statue",
        ),
    ),
    Style(
        "wooden",
        material.wooden,
        "Wooden",
        ("wood", "made of wood", "carved wood", "brown wooden planks", "wood grain"),
    ),
    Style(
        "red-bricks",
        material.red_bricks,
        "Red bricks",
        ("brick wall", "made of red bricks", "red brick wall", "bricks", "brick wall mural"),
    ),
    Style(
        "stone-wall",
        material.stone_wall,
        "Stone wall",
        ("stone", "made of stones", "grey stones", "stone masonry", "wall of rocks"),
    ),
    Style(
        "clay",
        material.clay,
        "Clay",
        ("clay sculpture", "made of clay", "terracotta", "plasticine", "modelling clay"),
    ),
    Style(
        "marble",
        material.marble,
        "Marble",
        ("marble statue", "made of marble", "white marble", "marble sculpture", "veined marble"),
    ),
    Style(
        "ice",
        material.ice,
        "Ice",
        ("frozen", "made of ice", "ice crystals", "frost", "ice sculpture", "frozen in ice"),
    ),
    Style(
        "stained-glass",
        pieces.stained_glass,
        "Stained Glass",
        (
            "stained glass window",
            "church window",
            "coloured glass panes",
            "leaded glass",
            "cathedral window",
        ),
    ),
    Style(
        "mosaic",
        pieces.mosaic,
        "Mosaic",
        ("mosaic tiles", "Roman mosaic", "made of small tiles", "tile mosaic", "tesserae"),
    ),
    Style(
        "embroidery",
        pieces.embroidery,
        "Embroidery",
        (
            "cross-stitch",
            "embroidered",
            "needlework",
            "stitched with thread",
            "cross stitch pattern",
        ),
    ),
    Style(
        "lego",
        pieces.lego,
        "Lego",
        (
            "lego bricks",
            "made of lego",
            "plastic toy bricks",
            "toy bricks with studs",
            "built from lego",
        ),
    ),
    Style(
        "autumn-leaves",
        pieces.autumn_leaves,
        "Autumn leaves",
        ("autumn", "fallen leaves", "made of leaves", "orange and red leaves", "fall foliage"),
    ),
    Style(
        "neon-light",
        screen.neon_light,
        "Neon Light",
        ("neon", "neon sign", "glowing neon lights", "neon glow in the dark", "cyberpunk neon"),
    ),
    Style(
        "pop-art",
        screen.pop_art,
        "Pop art",
        (
            "pop art print",
            "Andy Warhol",
            "Roy Lichtenstein",
            "halftone dots",
            "colourful pop art poster",
        ),
    ),
    Style(
        "pixel-art",
        screen.pixel_art,
        "Pixel art",
        ("8-bit", "pixelated", "retro video game", "big pixels", "8-bit game graphics"),
    ),
    Style(
        "zombie",
        screen.zombie,
        "Zombie",
        ("undead", "rotting zombie", "zombie skin", "horror zombie", "decayed green skin"),
    ),
    Style(
        "fire",
        screen.fire,
        "Fire",
        ("on fire", "flames", "burning", "made of fire", "blazing flames"),
    ),
    Style(
        "sepia-photo",
        screen.sepia_photo,
        "Old sepia photograph",
        (
            "sepia",
            "old photograph",
            "vintage photo",
            "faded antique photograph",
            "scratched old photo",
        ),
    ),
)

STYLES: dict[str, Style] = {style.id: style for style in _ALL}
