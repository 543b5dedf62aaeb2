"""The figures of the report, as specifications of a chart library: pure functions of tables."""
