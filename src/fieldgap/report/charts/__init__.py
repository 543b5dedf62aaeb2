"""The figures of the report, as chart specifications made by pure functions of tables."""
