"""Shrinks an image (base64) so that it fits into a square of `size` pixels; never enlarges it."""

import base64
import io

from PIL import Image, ImageOps


def main(event):
    size = int(event.get("size", 128))
    image = Image.open(io.BytesIO(base64.b64decode(event["image"])))
    original = image.size
    # Cameras store how they were held beside the pixels.
    image = ImageOps.exif_transpose(image).convert("RGB")
    image.thumbnail((size, size))
    buffer = io.BytesIO()
    image.save(buffer, "PNG")
    return {
        "original": list(original),
        "width": image.width,
        "height": image.height,
        "image": base64.b64encode(buffer.getvalue()).decode(),
    }
