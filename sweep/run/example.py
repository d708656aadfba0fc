"""The Python program of a model card: from a picture's file to the probabilities of classes."""

from sweep.data.io.images import RESAMPLING
from sweep.space.backbone import resized_side
from sweep.space.specs import MULTILABEL
from sweep.train.kept import KeptModel

_OPEN = """\
{imports}
from PIL import Image, ImageOps

image = Image.open("picture.jpeg")
image.draft(None, ({draft}, {draft}))  # a JPEG is decoded at a fraction of its size
image = ImageOps.exif_transpose(image).convert("RGB")
{resize}
images = np.asarray(image, np.float32).transpose(2, 0, 1)[None] / 255  # RGB (1, 3, {size}, {size})
{predict}
print(dict(zip({classes}, probabilities[0].tolist())))
"""

_SQUARE = "image = image.resize(({size}, {size}), Image.Resampling.{how})"
_CENTRE = """\
width, height = (int({side} * length / min(image.size)) for length in image.size)
left, top = round((width - {size}) / 2), round((height - {size}) / 2)
image = image.resize((width, height), Image.Resampling.{how})
image = image.crop((left, top, left + {size}, top + {size}))"""

_IMPORTS = {
    "timm": "import numpy as np\nimport timm\nimport torch",
    "onnx": "import numpy as np\nimport onnxruntime",
    "mlflow": "import mlflow\nimport numpy as np",
}
_PREDICT = {
    "timm": """\
mean = np.array({mean}, np.float32)[:, None, None]
std = np.array({std}, np.float32)[:, None, None]
model = timm.create_model("local-dir:.", pretrained=True).eval()
with torch.inference_mode():
    logits = model(torch.from_numpy((images - mean) / std))
probabilities = logits.{activation}.numpy()""",
    "onnx": """\
session = onnxruntime.InferenceSession("model.onnx")
(probabilities,) = session.run(None, {{"images": images}})""",
    "mlflow": 'probabilities = mlflow.pyfunc.load_model(".").predict(images)',
}


def example(model: KeptModel, style: str) -> str:
    """Return a program that runs in the folder of an exported model, on 8-bit pictures.

    Args:
        style: timm, onnx or mlflow. A model of the last two standardises its images itself.
    """
    chosen, size = model.preprocessing, model.image_size
    side = resized_side(size, chosen.crop)
    how = RESAMPLING[chosen.interpolation].name
    resize = _SQUARE if chosen.crop is None else _CENTRE
    several = model.target == MULTILABEL
    return _OPEN.format(
        imports=_IMPORTS[style],
        draft=2 * side,
        size=size,
        resize=resize.format(size=size, side=side, how=how),
        predict=_PREDICT[style].format(
            mean=list(chosen.mean),
            std=list(chosen.std),
            activation="sigmoid()" if several else "softmax(1)",
        ),
        classes=model.classes,
    )
