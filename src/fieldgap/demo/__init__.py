"""The painters of synthetic farmland: `scene` calls all others."""
