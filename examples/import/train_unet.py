"""Train a segmentation_models.pytorch Unet in plain PyTorch and export it: no line of foveate.

python train_unet.py DATA OUT.onnx MINUTES, where DATA holds images/, masks/, train.txt and val.txt.
"""

import random
import sys
import time
from pathlib import Path

import cv2
import numpy as np
import segmentation_models_pytorch as smp
import torch
from PIL import Image

SIDE, CLASSES, BATCH = 256, 3, 8
data, out, seconds = Path(sys.argv[1]), sys.argv[2], float(sys.argv[3]) * 60


def read(folder: str, name: str) -> Image.Image:
    return Image.open(data / folder / f"{name}.png").convert("L")


def small(name: str) -> np.ndarray:
    image = read("images", name).resize((SIDE, SIDE), Image.Resampling.BILINEAR)
    return np.dstack([image, read("masks", name).resize((SIDE, SIDE), Image.Resampling.NEAREST)])


def augmented(pair: np.ndarray) -> np.ndarray:
    move = cv2.getRotationMatrix2D((SIDE / 2, SIDE / 2), random.uniform(-15, 15), 1)
    move[:, 2] += np.random.uniform(-20, 20, 2)
    moved = cv2.warpAffine(pair, move, (SIDE, SIDE), flags=cv2.INTER_NEAREST)
    return moved[:, :: random.choice([1, -1])]


validation = (data / "val.txt").read_text().split()
names = [name for name in (data / "train.txt").read_text().split() if name not in validation]
pairs = [small(name) for name in names]
model = smp.Unet("resnet18", encoder_weights=None, in_channels=1, classes=CLASSES)
optimiser = torch.optim.AdamW(model.parameters(), weight_decay=1e-3)
dice, cross_entropy = smp.losses.DiceLoss("multiclass"), torch.nn.CrossEntropyLoss()
start = time.monotonic()
while (done := (time.monotonic() - start) / seconds) < 1:
    optimiser.param_groups[0]["lr"] = 1e-3 * (1 - done)
    batch = np.stack([augmented(pair) for pair in random.sample(pairs, BATCH)])
    images, masks = torch.tensor(batch, dtype=torch.float32).unbind(dim=3)
    logits = model(images[:, None] / 255)
    loss = dice(logits, masks.long()) + cross_entropy(logits, masks.long())
    optimiser.zero_grad()
    loss.backward()
    optimiser.step()
    print(f"{done:.0%} of the time, loss {loss.item():.3f}", end="\r", flush=True)
model.eval()
scores: dict[int, list[float]] = {label: [] for label in range(1, CLASSES)}
for name in validation:
    truth = torch.tensor(np.asarray(read("masks", name)))
    with torch.no_grad():
        logits = model(torch.tensor(small(name)[None, None, ..., 0], dtype=torch.float32) / 255)
        large = torch.nn.functional.interpolate(logits.softmax(1), truth.shape, mode="bilinear")
    for label in scores:
        found, true = large[0].argmax(0) == label, truth == label
        if (found | true).any():
            scores[label].append(float(2 * (found & true).sum() / (found.sum() + true.sum())))
mean = np.mean([np.mean(row) for row in scores.values()])
print(f"\nDice on {len(validation)} validation images, by hand: {mean:.4f}")
torch.onnx.export(model, (torch.zeros(1, 1, SIDE, SIDE),), out, opset_version=18)
