from __future__ import annotations

from fieldgap.analysis.runs import flatten, shared_items, variant_of


def test_variants_are_named_by_all_axes_but_the_seed() -> None:
    assert variant_of({"init": "orthogonal", "seed": 1}) == "init orthogonal"
    assert variant_of({"seed": 1}) == "all runs"


def test_flattening_joins_nested_keys() -> None:
    assert dict(flatten({"epoch": 2, "gap": {"val": {"iou": 0.1}}})) == {"epoch": 2, "gap_val_iou": 0.1}


def test_shared_items_are_those_that_all_tables_have_with_one_value() -> None:
    tables = [{"a": 1, "b": None, "c": 3}, {"a": 1, "b": None, "c": 4}, {"a": 1, "c": 3}]
    assert shared_items(tables) == {"a": 1}
    assert shared_items(tables[:2]) == {"a": 1, "b": None}
    assert shared_items(tables[:1]) == tables[0]
