"""Command merge: bring the spools of machines without network into one MLflow store.

Every run arrives once, however often a folder is merged.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from fieldgap.base.errors import InputError
from fieldgap.tracking import entries, outbox
from fieldgap.tracking.record import Delivery
from fieldgap.tracking.spools import read_all

if TYPE_CHECKING:
    from fieldgap.settings.sections import Record


def run(spools: Path, config: Record) -> None:
    """Deliver all entries and spools of a folder, and leave them there. What is neither is set aside.

    Raises:
        InputError: The folder has none, or the store did not accept them all.
    """
    saved = list(outbox.load(spools))
    keys = {entry.key for entry in saved}
    trainings = [entries.spool_entry(spool) for spool in read_all(spools) if spool.key not in keys]
    if not (waiting := [*saved, *trainings]):
        raise InputError(f"{spools}: no spool is there; name the folder .fieldgap/spool of a project that trained")
    delivered, problem = Delivery(waiting, config).run()
    if problem:
        raise InputError(
            f"record.store: {config.store} does not accept records ({problem}); {len(delivered)} of {len(waiting)} "
            "arrived, run this again for the rest"
        )
    print(f"{len(waiting)} records of {spools} are in {config.store}")
