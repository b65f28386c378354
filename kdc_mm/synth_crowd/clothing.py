"""What people wear: colours and garments of N persons, as a dictionary of arrays (N,) and (N, 3)
BGR."""
from typing import Dict

import numpy as np

_SKIN = np.array([[64, 84, 122], [86, 122, 172], [110, 150, 198], [132, 170, 216], [152, 188, 230],
                  [172, 200, 238], [40, 58, 92]], dtype=float)
_HAIR = np.array([[22, 22, 26], [28, 36, 48], [36, 56, 84], [60, 96, 140], [90, 140, 180],
                  [130, 130, 135], [40, 60, 130]], dtype=float)

#: What the left and the right half of the clothes tend to, BGR.
SIDE_COLOURS = dict(l=np.array([60., 120., 235.]), r=np.array([220., 130., 50.]))


def _cloth(rng: np.random.Generator, num: int, vivid: float) -> np.ndarray:
    """Cloth colours (num, 3): greys, muted tones, and with probability ``vivid`` saturated ones."""
    hue = rng.uniform(0, 2 * np.pi, (num, 1)) + np.array([0, 2.1, 4.2])
    saturation = np.where(rng.random(num) < vivid, rng.uniform(0.5, 1, num),
                          rng.uniform(0, 0.35, num))[:, None]
    value = rng.uniform(35, 235, (num, 1))
    return value * (1 - saturation * (0.5 - 0.5 * np.cos(hue)))


def _jeans(rng: np.random.Generator, num: int) -> np.ndarray:
    return rng.uniform(0.5, 1.1, (num, 1)) * np.array([125, 92, 68]) + rng.normal(0, 6, (num, 3))


def sample_clothing(rng: np.random.Generator, build: Dict[str, np.ndarray]) -> Dict[str,
                                                                                    np.ndarray]:
    """Dress the bodies.

    Left and right differ: all wear two-tone clothes, whose left sleeve, trouser leg, shoe and
    wristband tend to :data:`SIDE_COLOURS` as ``two_tone`` says. Besides, the chest pocket or
    emblem, the watch and the sleeve badge are on the left, and a shoulder bag hangs from the right
    shoulder to the left hip.
    """
    num = len(build['female'])

    def chance(probability):
        return rng.random(num) < probability

    def pick(colours):
        mix = rng.dirichlet(np.full(len(colours), 0.25), num)
        return mix @ colours

    skin = np.clip(pick(_SKIN) * rng.uniform(0.92, 1.06, (num, 1)), 20, 245)
    shirt = _cloth(rng, num, 0.5)
    trousers = np.where(chance(0.4)[:, None], _jeans(rng, num), _cloth(rng, num, 0.15) * 0.75)
    shoes = np.where(chance(0.55)[:, None], rng.uniform(20, 70, (num, 1)), _cloth(rng, num, 0.4))
    sleeve = rng.choice(3, num, p=[.16, .44, .40])  # none, short, long
    leg = rng.choice(3, num, p=[.07, .25, .68])  # very short, shorts, long
    skirt = build['female'] & chance(0.3)
    dress = skirt & chance(0.6)
    leg = np.where(skirt, 0, leg)
    hairless = ~build['female'] & chance(0.12)
    return dict(
        skin=skin,
        hair=np.where(hairless[:, None], skin * 0.97, pick(_HAIR) * rng.uniform(0.7, 1.2,
                                                                                (num, 1))),
        shirt=shirt,
        accent=np.where(chance(0.4)[:, None], np.where(shirt.mean(1, keepdims=True) > 120, 45.,
                                                       215.),
                        _cloth(rng, num, 0.7)),
        trousers=trousers,
        skirt_colour=np.where(dress[:, None], shirt, _cloth(rng, num, 0.4)),
        shoes=np.clip(shoes, 15, 250),
        sleeve=sleeve,
        upper_sleeve=np.where(sleeve == 2, 1.,
                              np.where(sleeve == 1, rng.uniform(0.45, 0.95, num), 0.)),
        fore_sleeve=np.where(sleeve == 2, rng.uniform(0.7, 0.98, num), 0.),
        upper_leg=np.where(leg == 0, rng.uniform(0.15, 0.35, num),
                           np.where(leg == 1, rng.uniform(0.55, 0.95, num), 1.)),
        lower_leg=np.where(leg == 2, rng.uniform(0.8, 1.0, num), 0.),
        loose=rng.uniform(1.04, 1.28, num),
        untucked=chance(0.6),
        skirt=skirt,
        dress=dress,
        skirt_length=rng.uniform(0.45, 1.15, num),
        socks=chance(0.4),
        hairless=hairless,
        long_hair=np.where(build['female'], chance(0.65), chance(0.05)),
        bun=build['female'] & chance(0.2),
        cap=chance(0.13),
        beard=~build['female'] & ~build['child'] & chance(0.25),
        glasses=chance(0.15),
        stripes=chance(0.18),
        open_jacket=(sleeve == 2) & chance(0.35),
        placket=chance(0.3),
        print=chance(0.25),
        pocket=chance(0.4),
        vneck=chance(0.4),
        badge=chance(0.3),
        watch=chance(0.35),
        bag=chance(0.12),
        backpack=chance(0.12),
        back_print=chance(0.25),
        belt=chance(0.3),
        two_tone=rng.uniform(0.35, 0.75, num))


def dye(cloth: np.ndarray, side: str, clothing: Dict[str, np.ndarray]) -> np.ndarray:
    """Colour (N, 3) of a garment's left or right half, ``side`` 'l' or 'r'."""
    share = clothing['two_tone'][:, None]
    return (1 - share) * cloth + share * SIDE_COLOURS[side]
