"""The names of the files that stages write into a folder, for all who read them."""

TILES = ("images.npy", "masks.npy", "tiles.csv", "mask_report.json")  # What a training depends on.
LEAKAGE, FRESH = "leakage.csv", "population.npz"  # Beside the tiles.
TRAINED = ("config.json", "history.csv", "steps.csv", "weights.safetensors", "best.safetensors", "status.json")
EVALUATED = ("metrics.json", "scenes.csv", "calibration.csv", "predictions.npz")
