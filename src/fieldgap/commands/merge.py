"""Spools of other machines merged into one MLflow store: each of their runs once, however often this is done."""

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
    """Brings over all that waits in a folder of spools, and leaves the folder as it is. Raises InputError."""
    whole = list(outbox.kept(spools))
    keys = {parcel.key for parcel in whole}
    partly = [entries.of_spool(each) for each in read_all(spools) if each.key not in keys]
    if not (waiting := [*whole, *partly]):
        raise InputError(f"{spools}: no spool is there; name the folder .fieldgap/spool of a project that trained")
    delivered, trouble = Delivery(waiting, config).run()
    if trouble:
        raise InputError(
            f"record.store: {config.store} takes no records ({trouble}); {len(delivered)} of {len(waiting)} are over, "
            "run this again for the rest"
        )
    print(f"{len(waiting)} records of {spools} are in {config.store}")
