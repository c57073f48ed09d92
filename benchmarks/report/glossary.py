"""What every term of the report means, and which of them the terminal explains."""

from __future__ import annotations

TERMS = {
    "latency, call": "Wall-clock time of one call: array in, mask out. The image is in memory.",
    "baseline": "The engine run on the same input without foveate around it, alternately with "
    "foveate. Call / baseline: 1 means that foveate adds nothing.",
    "own time": "What foveate itself takes between and around decoding, engine and encoding, as a "
    "share of the engine's time in the same run.",
    "median, p90, p95, p99": "The time that 50, 90, 95, 99 of 100 runs stay at or below.",
    "cv": "Coefficient of variation: standard deviation / mean. Above 2.5% the machine was not "
    "steady; trust the ratios more than the times.",
    "warm-up": "Runs before the measured ones, until two windows of three have medians within "
    "5%, for 10 seconds at most.",
    "brackets after a ratio": "Its spread: each round gives one ratio, 80 of 100 lie in between. A "
    "spread that holds 1 shows no difference.",
    "decode, encode": "Reading an image file to an array; writing a mask to a file.",
    "h2d, execute, d2h": "Bringing the array to the engine (host to device), running the "
    "network, bringing the mask back. On a CPU h2d and d2h are close to nothing.",
    "whole, sum": "From file to file by one clock, and the stages added up; share is sum / whole. "
    "They must agree within 10%, or time is spent where nothing was measured.",
    "cold start": "A new process: Python, imports, loading the bundle, first mask. Medians.",
    "offered load, response, service": "Requests at a fixed rate. Response counts from the moment "
    "a request was due, waiting included; service is the work alone. Queue: the most that waited.",
    "utilisation": "Share of the time that the model was at work.",
    "throughput, workers": "Images per second with several at a time; workers run side by side.",
    "core-ms": "Milliseconds of one core that a stage takes for one image, all cores busy.",
    "ceiling, bottleneck": "The images/s that decoding, engine and encoding allow on these cores, "
    "and the stage that takes most of it.",
    "roofline, floor": "The least time this machine's measured peaks of arithmetic and memory "
    "allow for the network's work.",
    "multiply-adds": "Multiplications with an addition, in the convolutions, for one image.",
    "target Dice": "Overlap with the truth: twice the common area / the sum of both areas; 1 is "
    "equal. The mean over the classes that each image's truth has: false alarms are counted apart. "
    "The Dice of `foveate evaluate` also holds them, as 0.",
    "Dice": "As in `foveate evaluate`: the mean over the images where mask or truth has a class, a "
    "false alarm as 0, then over the classes. The 95% interval is the bootstrap's over groups of "
    "images; two models that are judged on the same images differ by less than their intervals.",
    "Pareto front": "The models to choose from: each has a higher Dice than all that are faster.",
    "alarms": "False alarms: classes found in images whose truth lacks them, by image.",
    "disagreement": "Share by which two masks of the same image differ from each other, pooled "
    "over the images: |A xor B| / |A or B| of the foreground. It says nothing about the truth.",
    "empty, moved": "Masks that are empty on one side only; boxes that moved.",
    "parity held": "The masks are the reference's within a bound set beforehand. A speed whose "
    "parity is not held is the speed of something else.",
    "variant": "Engine and precision, for example onnxruntime fp32.",
}
IN_TERMINAL = {
    "parity": ("target Dice", "disagreement", "empty, moved"),
    "latency": (
        "latency, call", "baseline", "own time", "cv", "decode, encode", "h2d, execute, d2h",
        "whole, sum",
    ),
    "throughput": ("baseline", "ceiling, bottleneck", "roofline, floor"),
    "pareto": ("Dice", "Pareto front", "disagreement"),
    "compare": ("target Dice", "alarms", "disagreement"),
}  # fmt: skip
"""Kind of result -> the terms explained beneath it."""
