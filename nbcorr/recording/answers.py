"""What the two systems answered: predictions, confidence and loss."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.nn import functional

from nbcorr.network.batches import Batch
from nbcorr.network.hooks import device_and_dtype, first_tensor, inference, output_parts
from nbcorr.recording.columns import check_answered


def answers_of(output: Any, label: np.ndarray | None) -> dict[str, np.ndarray]:
    """Prediction, confidence and loss of a classifier; nothing for any other model.

    Parameters
    ----------
    output : tensor, tuple, dict or dataclass
        What the model gave; class scores (logits) of shape (batch, classes) make it a classifier:
        the tensor itself, what is called ``logits``, or the only tensor of this shape. Where
        several could be the scores none is taken.
    label : array of int, shape (batch,), optional

    Returns
    -------
    dict
        ``prediction`` int64, ``confidence`` float32 (largest softmax probability) and, where the
        labels are classes of this model, ``loss`` float32 (cross-entropy in nats) and ``margin``
        float32 (score of the label's class less the highest of the others: negative where wrong).
    """
    scores = _class_scores(output)
    if scores is None:
        return {}
    scores = scores.detach().float()
    columns = {
        "prediction": scores.argmax(1).cpu().numpy(),
        "confidence": scores.softmax(1).amax(1).cpu().numpy(),
    }
    if label is not None and _are_classes(label, scores.shape[1]):
        target = torch.as_tensor(label.astype(np.int64), device=scores.device)
        columns["loss"] = functional.cross_entropy(scores, target, reduction="none").cpu().numpy()
        own = scores.gather(1, target[:, None])
        others = scores.scatter(1, target[:, None], -torch.inf).amax(1)
        columns["margin"] = (own[:, 0] - others).cpu().numpy()
    return columns


def baseline_answers(baseline: Callable[..., Any], batch: Batch, first: int = 0) -> np.ndarray:
    """System B's predictions for a batch, shape (batch,).

    ``first`` is the position of the batch's first sample, its name where there are no ids.

    Raises
    ------
    ValueError
        If it does not give one answer (or one row of class scores) per sample, or NaN or None.
    """
    if isinstance(baseline, nn.Module):
        with inference(baseline):
            own = batch.to(*device_and_dtype(baseline))
            given: Any = first_tensor(own.run(baseline))
    else:
        with torch.no_grad():
            given = baseline(batch.inputs)
    if isinstance(given, torch.Tensor):
        given = given.detach().cpu().numpy()
    answers = np.asarray(given)
    scores = answers if answers.ndim == 2 and answers.shape[0] == len(batch) else None
    if scores is None and answers.shape != (len(batch),):
        raise ValueError(
            f"the baseline gave answers of shape {answers.shape} for a batch of {len(batch)} "
            "samples; expected one prediction, or one row of class scores, per sample"
        )
    positions = np.arange(first, first + len(batch))
    check_answered(answers, positions if batch.sample is None else batch.sample)
    return answers if scores is None else scores.argmax(1)


def possible_scores(output: Any) -> list[torch.Tensor]:
    """Tensors of a model's output that may be class scores, whatever their shape.

    What is called ``logits``, the output itself, or every tensor in it. None of a transformer
    without a head: its pooled state is no score.
    """
    named = output.get("logits") if isinstance(output, Mapping) else getattr(output, "logits", None)
    found = output if named is None else named
    if hasattr(found, "last_hidden_state"):
        return []
    parts = [found] if isinstance(found, torch.Tensor) else output_parts(found)
    return [part for part in parts if isinstance(part, torch.Tensor)]


def _class_scores(output: Any) -> torch.Tensor | None:
    possible = possible_scores(output)
    scores = [t for t in possible if t.ndim == 2 and t.shape[1] > 1 and t.is_floating_point()]
    return scores[0] if len(scores) == 1 else None


def _are_classes(label: np.ndarray, classes: int) -> bool:
    return (
        np.issubdtype(label.dtype, np.integer)
        and len(label) > 0
        and int(label.min()) >= 0
        and int(label.max()) < classes
    )
