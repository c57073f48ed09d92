"""What each setting means: ``foveate train --settings``, the options, and docs/training.md."""

from __future__ import annotations

from typing import Any

from foveate.train.settings.settings import Settings

MEANINGS = {
    "data_dir": "folder of the data set; DATA overrides it",
    "image_dir_name": "folder of the images in DATA",
    "mask_dir_name": "folder of the masks in DATA",
    "channels": "`grey`: colours become grey; `rgb`: colour images; 2 to 32: images of so many "
    "channels",
    "mask_threshold": "masks with soft edges: from this value on a pixel is foreground; 0: not set",
    "mask_values": 'names of the values that masks hold: "lesion=1,vessel=7"',
    "mask_colours": 'names of the colours of masks: "lesion=#c81e1e,vessel=#1ec81e"',
    "mask_instances": "masks number objects: every value over 0 is foreground",
    "ignore_value": "mask value of pixels that are not labelled and count nowhere; -1: none",
    "image_height, image_width": "size at which stage 1 and `single` see the whole image; keep "
    "the images' shape",
    "single_input": "`full`, with --stages single: images at their own size, trained on crops of "
    "`image_height` x `image_width`; `resized`: at that size",
    "crop_height, crop_width": "size at which stage 2 sees its box, and the smallest box until box "
    "and thresholds are chosen; 0: as stage 1. If targets can lie far apart keep the images' shape",
    "region_mode": "`tiles`: stage 2 sees the best tiles of this size at the image's own "
    "resolution, for small or many objects; `box`: one box around all targets",
    "width, depth": "channels at full size (16 is the fewest that fill a bfloat16 vector), and "
    "halvings; sizes must be multiples of 2^depth",
    "network": "`unet`, `residual`, `attention`, `residual_attention`, or the name of an encoder",
    "stage2_network, stage2_width, stage2_depth": "the network of stage 2 alone; empty and 0: as "
    "stage 1. The sides of its crop must be multiples of 2^stage2_depth",
    "encoder_weights": "`imagenet` (for `efficientnet_lite0`), or a file with weights of an "
    "encoder; empty: random ones",
    "loss": "`cross_entropy_dice`, `cross_entropy`, `dice`, `focal`, `tversky` or `focal_tversky`",
    "class_weights": "weights of the classes in the loss, comma-separated, background first, or "
    "`auto`; empty: all alike",
    "focal_gamma": "of `focal`: the higher, the less a correct pixel counts",
    "tversky_alpha, tversky_beta": "weights of false positives and of false negatives",
    "tversky_gamma": "of `focal_tversky`: 1 is `tversky`; higher values weigh poorly found classes "
    "more",
    "batch_size": "views per step",
    "learning_rate": "peak of AdamW, after a short warm-up and before a cosine",
    "weight_decay": "of AdamW",
    "num_epochs": "epochs of each stage; one is every image once, but at least 32 batches",
    "max_minutes": "if set, replaces `num_epochs`: the time of the whole command, shared by the "
    "pixels of each network's views, so that both stages get about as many epochs; a twentieth is "
    "kept for choosing box and thresholds",
    "device": "`cpu`, `cuda`, `cuda:N`, or `auto`: a GPU where there is one",
    "threads": "threads of PyTorch and OpenCV in the training process; 0: one a core. Fewer are "
    "faster where other processes hold the cores",
    "num_workers": "processes that make training views",
    "cache_gb": "full images kept in memory, in 10^9 bytes; 0: half of what is available",
    "seed": "of the split, the first weights and the views",
    "val_fraction": "share of the images that validates",
    "window": "LOW,HIGH: the values that are black and white in signed, 32-bit and float images; "
    "kept in the bundle",
    "normalisation": "`zscore`: of each small image and channel; `constants`: mean and deviation "
    "of the training images, over all channels; `imagenet`: of ImageNet's colours, for `rgb`",
    "augmentation": "`none`, `light`, `standard`, `medical` or `industrial`: sets the next four",
    "horizontal_flip, vertical_flip": "probabilities; set `vertical_flip=0` where up and down "
    "differ",
    "rotate_degrees, brightness_contrast": "largest rotation and change",
    "hint_folds": "networks that make hints for stage 2; 0: none",
    "margin": "added to each end of the box, as a share of its side; 0: chosen with the box",
    "class_names": "comma-separated, without the background; empty: class 1, class 2 and so on",
    "data_licence": "written to the manifest of every bundle made from the run",
}
"""Names of settings, comma-separated where they go together, and their meaning."""


def rows() -> list[tuple[str, str, str]]:
    """Return names, defaults and meaning of every setting, in the order of ``Settings``."""
    values = Settings().as_dict()
    return [
        (names, ", ".join(_written(values[name]) for name in names.split(", ")), meaning)
        for names, meaning in MEANINGS.items()
    ]


def meaning_of(name: str) -> str:
    """Return the meaning of one setting."""
    return next(text for names, text in MEANINGS.items() if name in names.split(", "))


def _written(value: Any) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, float):
        return f"{value:.4g}"
    return str(value) or "–"
