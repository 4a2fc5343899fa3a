"""Labels of images over HTTP, by a file of `segbook export RUN --to onnx`.

NETWORK=network.onnx uvicorn server:app
curl --data-binary @street.jpg localhost:8000/labels -o labels.png
curl --data-binary @street.jpg localhost:8000/shares
"""

import io
import json
import os
from typing import Annotated

import numpy as np
import onnxruntime
from fastapi import Depends, FastAPI, HTTPException, Request, Response
from PIL import Image, ImageOps

FORMATS = ("PNG", "JPEG", "WEBP", "BMP", "TIFF")  # for others PIL may start other programs
PIXELS = 4096 * 4096  # more in one request are refused
session = onnxruntime.InferenceSession(os.environ["NETWORK"])
header = json.loads(session.get_modelmeta().custom_metadata_map["segkit"])
app = FastAPI(title=header.get("builder", "network"))


async def body(request: Request) -> bytes:
    """The image's file, as it was sent."""
    return await request.body()


def predict(content: Annotated[bytes, Depends(body)]) -> np.ndarray:
    """The class of each pixel, uint8 (H, W); in a thread, so that others are answered."""
    file = io.BytesIO(content)
    try:
        with Image.open(file, formats=FORMATS) as image:
            width, height = image.size
            if min(width, height) < 32 or width * height > PIXELS:
                raise HTTPException(
                    400, f"the image has {width}x{height} pixels: send sides of 32 or more, "
                    f"and {PIXELS} pixels at most"
                )  # fmt: skip
            if image.mode.startswith(("I", "F")):
                raise HTTPException(
                    400, f"the image has {image.mode!r} pixels, more than 8 bits: scale them to "
                    "0..255 and send 8-bit colours or grey"
                )  # fmt: skip
            pixels = np.asarray(ImageOps.exif_transpose(image).convert("RGB"))
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
        why = str(error).replace(f"image file {file!r}", "the upload")
        raise HTTPException(400, f"the body is no image that can be read: {why}") from error
    [logits] = session.run(None, {"images": pixels.transpose(2, 0, 1)[None]})
    return logits[0].argmax(0).astype(np.uint8)


Labels = Annotated[np.ndarray, Depends(predict)]


@app.post("/labels", response_class=Response)
def labels(found: Labels) -> Response:
    """A PNG of ids, shown in the colours of the network's classes."""
    picture, file = Image.fromarray(found), io.BytesIO()
    if "palette" in header:
        picture.putpalette([level for colour in header["palette"] for level in colour])
    picture.save(file, "PNG")
    return Response(file.getvalue(), media_type="image/png")


@app.post("/shares")
def shares(found: Labels) -> dict[str, float]:
    """The share of pixels of each class, 0..1, by its name."""
    names = header.get("classes") or [str(k) for k in range(found.max() + 1)]
    return {name: float((found == k).mean()) for k, name in enumerate(names)}
