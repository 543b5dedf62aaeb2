"""Published statements, checked against what a grid measured: it agrees, disagrees, or does not test them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from fieldgap.analysis.evidence import (
    Answer,
    Evidence,
    he_without_norms,
    norms_hide_the_init,
    running_loss_is_above_the_training_loss,
    warmup_stabilises_like_norms,
    warmup_tolerates_larger_rates,
)


@dataclass(frozen=True)
class Statement:
    """A published statement.

    Attributes:
        claim: What it says.
        source: Where it was published.
        check: Answers from the numbers of a grid whether they support the claim.
    """

    claim: str
    source: str
    check: Callable[[Evidence], Answer]


STATEMENTS = (
    Statement(
        "Warm-up lets training tolerate a larger peak learning rate.",
        "Kalra and Barkeshli 2024, arXiv:2406.09405",
        warmup_tolerates_larger_rates,
    ),
    Statement(
        "Warm-up stabilises training about as well as normalisation layers do.",
        "Gilmer et al. 2021, arXiv:2110.04369",
        warmup_stabilises_like_norms,
    ),
    Statement(
        "Batch normalisation makes training less sensitive to weight initialisation.",
        "Ioffe and Szegedy 2015, arXiv:1502.03167",
        norms_hide_the_init,
    ),
    Statement(
        "With ReLU and without normalisation layers, He's variance trains better than Xavier's.",
        "He et al. 2015, arXiv:1502.01852",
        he_without_norms,
    ),
    Statement(
        "The loss shown during training, in train mode while the weights change, lies above the true training loss.",
        "Keras FAQ, keras.io/getting_started/faq",
        running_loss_is_above_the_training_loss,
    ),
)


def check_statements(evidence: Evidence) -> list[dict[str, str]]:
    """Return claim, source, answer and evidence for each of STATEMENTS."""
    rows = []
    for statement in STATEMENTS:
        answer, numbers = statement.check(evidence)
        rows.append({"claim": statement.claim, "source": statement.source, "answer": answer, "evidence": numbers})
    return rows
