"""The report's figures as Vega-Lite charts: pure functions of the tables that the report writes as CSV."""
