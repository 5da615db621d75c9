"""What the folder of a trained network holds."""

MODEL_JSON = "model.json"  # what a stage is; written first, and never changed by a resumed run
WEIGHTS = "model.weights.h5"  # written last: a stage that has it is finished
METRICS = "metrics.json"
