"""Spools of other machines merged into one MLflow store: each of their runs once, however often this is done."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from fieldgap import packing, parcels, spool
from fieldgap.errors import InputError
from fieldgap.tracking import Delivery

if TYPE_CHECKING:
    from fieldgap.sections import Record


def run(spools: Path, config: Record) -> None:
    """Brings over all that waits in a folder of spools, and leaves the folder as it is. Raises InputError."""
    whole = list(parcels.kept(spools))
    keys = {parcel.key for parcel in whole}
    partly = [packing.of_spool(each) for each in spool.read_all(spools) if each.key not in keys]
    if not (waiting := [*whole, *partly]):
        raise InputError(f"{spools}: no spool is there; name the folder .fieldgap/spool of a project that trained")
    delivered, trouble = Delivery(waiting, config).run()
    if trouble:
        raise InputError(
            f"record.store: {config.store} takes no records ({trouble}); {len(delivered)} of {len(waiting)} are over, "
            "run this again for the rest"
        )
    print(f"{len(waiting)} records of {spools} are in {config.store}")
