# SPDX-License-Identifier: Apache-2.0
"""A photograph flipped, turned, filtered, greyed and made small (FunctionBench's image_processing), with Pillow.

Initialisation loads every codec that Pillow has and draws an album of $IMAGE_PICTURES pictures of $IMAGE_WIDTH x $IMAGE_HEIGHT pixels from
$IMAGE_SEED, kept as JPEG files: they stand for what such a function fetches from a store.
Event: {"picture": which one, "operations": some of flip, rotate, blur, contour, sharpen, grayscale, resize, thumbnail; all by default}.
Result: {"picture", "size", "outputs": {operation: {"size", "mode", "bytes": as a JPEG, "digest": SHA-256 of the pixels}}}.
"""

import hashlib
import io
import math
import os
import random

from PIL import Image, ImageDraw, ImageFilter, ImageOps

PICTURES = int(os.environ.get("IMAGE_PICTURES", "16"))
WIDTH = int(os.environ.get("IMAGE_WIDTH", "640"))
HEIGHT = int(os.environ.get("IMAGE_HEIGHT", "480"))
SEED = int(os.environ.get("IMAGE_SEED", "1"))


def draw_picture(width, height, seed):
    """Soft light with figures on it: smooth areas, edges and a little noise, as in a photograph."""
    generator = random.Random(seed)
    light = Image.radial_gradient("L").resize((width, height), Image.Resampling.BICUBIC)
    slope = Image.linear_gradient("L").resize((width, height))
    picture = Image.merge("RGB", (light, slope, ImageOps.invert(light)))
    draw = ImageDraw.Draw(picture)
    for _ in range(60):
        x, y, radius = generator.randrange(width), generator.randrange(height), generator.randrange(4, max(5, height // 8))
        colour = tuple(generator.randrange(256) for _ in range(3))
        corners = [(x + radius * math.cos(i * 1.256), y + radius * math.sin(i * 1.256)) for i in range(5)]
        if generator.random() < 0.5:
            draw.ellipse((x - radius, y - radius, x + radius, y + radius), fill=colour)
        else:
            draw.polygon(corners, fill=colour)
    grain = Image.frombytes("L", (width, height), generator.randbytes(width * height)).convert("RGB")
    return Image.blend(picture, grain, 0.05)


def encode(image):
    """The JPEG file of an image."""
    file = io.BytesIO()
    image.save(file, "JPEG", quality=85)
    return file.getvalue()


def thumbnail(image):
    """A copy that fits 128 x 128, in its proportions."""
    small = image.copy()
    small.thumbnail((128, 128))
    return small


OPERATIONS = {
    "flip": lambda image: image.transpose(Image.Transpose.FLIP_LEFT_RIGHT),
    "rotate": lambda image: image.transpose(Image.Transpose.ROTATE_90),
    "blur": lambda image: image.filter(ImageFilter.BLUR),
    "contour": lambda image: image.filter(ImageFilter.CONTOUR),
    "sharpen": lambda image: image.filter(ImageFilter.SHARPEN),
    "grayscale": lambda image: ImageOps.grayscale(image),
    "resize": lambda image: image.resize((image.width // 2, image.height // 2), Image.Resampling.LANCZOS),
    "thumbnail": thumbnail,
}

# Pillow imports its codecs when it first meets a file; a function that is to take any file has them all once it is initialised.
Image.init()
ALBUM = [encode(draw_picture(WIDTH, HEIGHT, SEED + index)) for index in range(PICTURES)]


def handler(event, context):
    names = event.get("operations", list(OPERATIONS))
    unknown = [name for name in names if name not in OPERATIONS]
    if unknown:
        raise ValueError(f"operations: unknown {', '.join(map(str, unknown))}; known are {', '.join(OPERATIONS)}")
    picture = int(event.get("picture", 0))
    if not 0 <= picture < len(ALBUM):
        raise ValueError(f"picture: {picture} is not in 0..{len(ALBUM) - 1}")
    image = Image.open(io.BytesIO(ALBUM[picture]))
    image.load()
    outputs = {}
    for name in names:
        output = OPERATIONS[name](image)
        outputs[name] = {
            "size": list(output.size),
            "mode": output.mode,
            "bytes": len(encode(output)),
            "digest": hashlib.sha256(output.tobytes()).hexdigest(),
        }
    return {"picture": picture, "size": list(image.size), "outputs": outputs}
